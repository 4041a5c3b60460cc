//! Where models are looked for, and the search among those that are here.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use hwledger_node::locate::{LocateOptions, Match, search_local};

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where models are looked for")]
pub(crate) struct Location {
    /// Ask no server: only this machine and the built-in catalogue
    #[arg(long, global = true)]
    offline: bool,
    /// Commit, branch or tag of a Hugging Face repository
    #[arg(long, global = true, value_name = "REVISION")]
    revision: Option<String>,
    /// Ask servers again for what was fetched before
    #[arg(long, global = true)]
    refresh: bool,
}

impl Location {
    /// What the environment says, and these flags over it.
    pub(crate) fn options(&self) -> LocateOptions {
        let mut options = LocateOptions::from_environment();
        options.is_offline |= self.offline;
        options.revision.clone_from(&self.revision);
        if self.refresh {
            options.time_to_live = Duration::ZERO;
        }
        options
    }
}

/// Arguments of `models`.
#[derive(Debug, Args)]
pub(crate) struct ModelsArguments {
    /// Words that the name holds; all models without any
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Print one JSON object per model
    #[arg(long)]
    pub(crate) json: bool,
}

impl ModelsArguments {
    /// The models on this machine and in the catalogue, the closest first.
    pub(crate) fn run(&self, options: &LocateOptions) -> Vec<Match> {
        search_local(&self.words.join(" "), options)
    }
}

/// One line per model: the name to plan it by, and where it is.
pub(crate) fn render(found: &[Match]) -> String {
    let width = found.iter().map(|found| found.reference.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Match { reference, place, .. } in found {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{reference:<width$}  {}", place.name());
    }
    text
}
