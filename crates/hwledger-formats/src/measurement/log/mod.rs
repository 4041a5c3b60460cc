//! Memory that engines report while starting. Lines that are not understood are passed over: a
//! log holds much else.

mod devices;
mod llama_cpp;
mod ollama;
mod servers;

pub(super) use devices::Devices;
pub(super) use llama_cpp::llama_cpp;
pub(super) use ollama::ollama;
pub(super) use servers::{sglang, vllm};

use super::run::{BufferMemory, MeasuredRun, Place, TestKind};

/// Most buffers of one log.
const BUFFERS_MAX: usize = 4096;

/// A run at a line, with nothing known but that it is a start.
fn started(engine: &str, line: u64) -> MeasuredRun {
    let mut run = MeasuredRun {
        place: Place { file: String::new(), line, record: 1 },
        engine: Some(engine.to_owned()),
        ..MeasuredRun::default()
    };
    run.workload.kind = Some(TestKind::StartUp);
    run
}

/// The row of a device, made where there is none; none where there are too many.
fn buffer<'a>(memory: &'a mut Vec<BufferMemory>, device: &str) -> Option<&'a mut BufferMemory> {
    let at = match memory.iter().position(|one| one.device == device) {
        Some(at) => at,
        None if memory.len() >= BUFFERS_MAX => return None,
        None => {
            memory.push(BufferMemory { device: device.to_owned(), ..BufferMemory::default() });
            memory.len() - 1
        }
    };
    memory.get_mut(at)
}

/// Numbers the runs of a file.
fn numbered(mut runs: Vec<MeasuredRun>) -> Vec<MeasuredRun> {
    for (index, run) in runs.iter_mut().enumerate() {
        run.place.record = index as u64 + 1;
    }
    runs
}
