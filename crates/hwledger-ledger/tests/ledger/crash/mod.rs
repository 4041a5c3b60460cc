//! A process that appends and is killed, and what must be true of its ledger afterwards.
//!
//! Shared by the example `crash` (many rounds) and the tests (a few).

mod check;
mod child;
mod power;
mod random;

pub(crate) use check::{Counts, Known};
pub(crate) use child::{append_until_killed, draft_of};
pub(crate) use power::{cut_power, stop};
pub(crate) use random::Random;

use std::io::BufRead as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hwledger_ledger::store::LedgerPlaces;

/// Where the ledger and its signer are within a folder.
pub(crate) fn places(folder: &Path) -> LedgerPlaces {
    LedgerPlaces { ledger: folder.join("ledger"), signer: folder.join("signer") }
}

/// A process that appends, and what it has said so far.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    listener: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let output: ChildStdout = child.stdout.take().unwrap();
        let heard = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            let mut lines = std::io::BufReader::new(output);
            let mut line = String::new();
            // A line without its end was being written when the process died: it was not said.
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                heard.lock().unwrap().push(line.trim_end().to_owned());
                line.clear();
            }
        });
        Self { child, said, listener }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has begun to acknowledge, but not for ever.
    pub(crate) fn wait_for_acknowledgements(&self, count: usize) {
        for _ in 0..6000 {
            let so_far = self.said.lock().unwrap().iter().filter(|line| line.starts_with("A ")).count();
            if so_far >= count || self.listener.is_finished() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it (SIGKILL) and returns all that it said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.listener.join().unwrap();
        self.said.lock().unwrap().clone()
    }
}
