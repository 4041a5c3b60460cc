//! What efficiencies of engines start from whose kernels are like nobody else's, by their instructions.

use super::efficiency::Place;
use super::resource::{Backend, Kernel, Resource, Runner};
use crate::device::Instructions;

/// One line: which kernels it is of, and the natural logarithm of their efficiency.
#[derive(Clone, Copy, Debug, PartialEq)]
struct OwnPrior {
    group: Runner,
    backend: Backend,
    /// Of every processor where nothing is named.
    instructions: Option<Instructions>,
    resource: Resource,
    /// Of every kernel where it is [`Kernel::Any`].
    kernel: Kernel,
    log: f64,
}

/// All of them: some dozens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OwnPriors(Vec<OwnPrior>);

impl OwnPriors {
    /// The line that says most of `resource` with `kernel` at `place`: a kernel counts more than instructions.
    pub(super) fn log(&self, place: &Place, resource: Resource, kernel: Kernel) -> Option<f64> {
        // Hardly any place has lines of its own.
        if !matches!(place.group, Runner::Native | Runner::Mlx) {
            return None;
        }
        let is_of = |own: &&OwnPrior| {
            own.group == place.group
                && own.backend == place.backend
                && own.resource == resource
                && (own.kernel == kernel || own.kernel == Kernel::Any)
                && (own.instructions.is_none() || own.instructions == place.instructions)
        };
        let rank = |own: &&OwnPrior| (own.kernel != Kernel::Any, own.instructions.is_some());
        self.0.iter().filter(is_of).max_by_key(rank).map(|own| own.log)
    }

    /// Reads `ENGINES BACKEND INSTRUCTIONS RESOURCE KERNEL EFFICIENCY SOURCE`; `any` are all instructions.
    pub(super) fn read(&mut self, fields: &[&str]) -> Result<(), String> {
        let unknown = |what: &str, text: &str| format!("`{text}` is no {what}");
        let &[group, backend, instructions, resource, kernel, efficiency, source] = fields else {
            return Err("an own prior has eight columns".to_owned());
        };
        let log = efficiency.parse::<f64>().ok().filter(|value| *value > 0.0 && *value <= 1.0).map(f64::ln);
        if source.is_empty() {
            return Err("an own prior has a source".to_owned());
        }
        self.0.push(OwnPrior {
            group: Runner::named(group)
                .filter(|group| matches!(group, Runner::Native | Runner::Mlx))
                .ok_or_else(|| unknown("engine with kernels of its own", group))?,
            backend: Backend::named(backend).ok_or_else(|| unknown("backend", backend))?,
            instructions: match instructions {
                "any" => None,
                name => Some(Instructions::named(name).ok_or_else(|| unknown("set of instructions", name))?),
            },
            resource: Resource::named(resource).ok_or_else(|| unknown("resource", resource))?,
            kernel: Kernel::named(kernel).ok_or_else(|| unknown("kernel", kernel))?,
            log: log.ok_or_else(|| "an efficiency is a number above 0 and at most 1".to_owned())?,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(group: Runner, instructions: Option<Instructions>) -> Place {
        Place {
            engine: group,
            group,
            backend: Backend::Cpu,
            family: None,
            device: None,
            architecture: None,
            instructions,
        }
    }

    #[test]
    fn the_line_that_says_most_counts() {
        let mut priors = OwnPriors::default();
        for line in [
            "hwledger\tcpu\tany\tmatmul\tany\t0.5\ta",
            "hwledger\tcpu\tavx2\tmatmul\tany\t0.25\tb",
            "hwledger\tcpu\tany\tmatmul\tf32\t0.125\tc",
        ] {
            priors.read(&line.split('\t').collect::<Vec<_>>()).unwrap();
        }
        let of = |set, kernel| priors.log(&place(Runner::Native, set), Resource::Matmul, kernel).unwrap().exp();
        let is = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
        is(of(None, Kernel::Q4K), 0.5);
        is(of(Some(Instructions::Avx2), Kernel::Q4K), 0.25);
        is(of(Some(Instructions::Avx2), Kernel::F32), 0.125);
        assert_eq!(priors.log(&place(Runner::Ggml, None), Resource::Matmul, Kernel::Q4K), None);
        assert_eq!(priors.log(&place(Runner::Native, None), Resource::DecodeWeights, Kernel::Q4K), None);
    }

    #[test]
    fn lines_that_say_nothing_are_named() {
        let read = |line: &str| OwnPriors::default().read(&line.split('\t').collect::<Vec<_>>()).unwrap_err();
        assert_eq!(read("hwledger\tcpu\tsse2\tmatmul\tany\t0.5\ta"), "`sse2` is no set of instructions");
        assert_eq!(read("vllm\tcpu\tany\tmatmul\tany\t0.5\ta"), "`vllm` is no engine with kernels of its own");
        assert!(read("hwledger\tcpu\tany\tmatmul\tany\t1.5\ta").contains("at most 1"));
        assert!(read("hwledger\tcpu\tany\tmatmul\tany\t0.5\t").contains("source"));
    }
}
