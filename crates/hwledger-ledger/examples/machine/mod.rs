//! What the machine of a measurement is, as the system says it: no names.

use std::path::Path;

use serde_json::{Value, json};

/// Processor, memory, kernel and the file system that `folder` lies on.
pub(crate) fn describe(folder: &Path) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    json!({
        "processor": field(&processors, "model name"),
        "cores": processors.lines().filter(|line| line.starts_with("processor")).count(),
        "has_sha_instructions": field(&processors, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "sha_ni")),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").split('-').next().map(str::trim),
        "file_system": file_system(folder, &read("/proc/self/mountinfo")),
        "load_average": read("/proc/loadavg").split(' ').next(),
    })
}

fn file_system(folder: &Path, mounts: &str) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let places = mounts.lines().filter_map(|line| {
        let place = line.split(' ').nth(4)?;
        let kind = line.split_once(" - ")?.1.split(' ').next()?;
        folder.starts_with(place).then_some((place.len(), kind.to_owned()))
    });
    places.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// Where results go: a line of the file named after `--output`, and always to standard output.
pub(crate) fn report(line: &Value, output: Option<&Path>) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}")?;
    match output {
        Some(path) => {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(file, "{line}")
        }
        None => Ok(()),
    }
}

/// The value after `--name` among the arguments.
pub(crate) fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument.strip_prefix("--") != Some(name));
    arguments.next().and(arguments.next())
}

/// The number after `--name`.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    option(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
