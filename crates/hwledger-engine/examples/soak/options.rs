//! What is asked on the command line.

use std::path::PathBuf;
use std::time::Duration;

use hwledger_engine::InstructionSet;

/// The demonstration model of the project.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../hwledger-node/demo/demo.gguf");

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Pages are taken and never given back.
    Pages,
    /// A token of some replies is another.
    Tokens,
    /// Memory is taken and never given back.
    Memory,
    /// Some replies never get to those who asked.
    Stall,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Pages, Self::Tokens, Self::Memory, Self::Stall];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Tokens => "tokens",
            Self::Memory => "memory",
            Self::Stall => "stall",
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) model: PathBuf,
    pub(crate) minutes: f64,
    pub(crate) seed: u64,
    pub(crate) threads: Option<usize>,
    pub(crate) sequences: usize,
    pub(crate) context: Option<usize>,
    pub(crate) cache_tokens: Option<usize>,
    pub(crate) instructions: Option<InstructionSet>,
    /// Bytes by which the resident set may grow from its first window to its last.
    pub(crate) growth_limit: u64,
    /// How long a request may hear nothing.
    pub(crate) wait_limit: Duration,
    pub(crate) output: Option<PathBuf>,
    pub(crate) fault: Option<Fault>,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            model: PathBuf::from(DEMO),
            minutes: 60.0,
            seed: 1,
            threads: None,
            sequences: 16,
            context: None,
            cache_tokens: None,
            instructions: None,
            growth_limit: 4 << 20,
            wait_limit: Duration::from_mins(2),
            output: None,
            fault: None,
        };
        while let Some(argument) = arguments.next() {
            if !argument.starts_with("--") {
                options.model = argument.into();
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("`{argument}` needs a value"))?;
            match argument.as_str() {
                "--minutes" => options.minutes = number(&value)?,
                "--seed" => options.seed = number(&value)?,
                "--threads" => options.threads = Some(number(&value)?),
                "--sequences" => options.sequences = number(&value)?,
                "--context" => options.context = Some(number(&value)?),
                "--cache-tokens" => options.cache_tokens = Some(number(&value)?),
                "--growth-limit" => options.growth_limit = number::<u64>(&value)? << 20,
                "--wait-limit" => options.wait_limit = Duration::from_secs(number(&value)?),
                "--output" => options.output = Some(value.into()),
                "--instructions" => {
                    let set = InstructionSet::named(&value);
                    options.instructions = Some(set.ok_or_else(|| format!("`{value}` is no set of instructions"))?);
                }
                "--fault" => {
                    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == value);
                    options.fault = Some(fault.ok_or_else(|| format!("`{value}` is nothing that can be broken"))?);
                }
                _ => return Err(format!("there is no `{argument}`")),
            }
        }
        if options.minutes.is_nan() || options.minutes <= 0.0 || options.sequences == 0 {
            return Err("`--minutes` and `--sequences` must be above 0".to_owned());
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number that can be used here"))
}
