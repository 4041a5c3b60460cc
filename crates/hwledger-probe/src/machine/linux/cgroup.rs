//! The limits of this process's control group, of either version.

use super::tree::Tree;
use crate::machine::collect::{Collector, Missing};
use crate::machine::metric;

/// Above this, the first version's "no limit" (the largest multiple of a page below 2^63).
const UNLIMITED: f64 = 4.6e18;

/// Where one controller's files are: the folders from this process's group up to the root.
struct Controller {
    is_second: bool,
    mount: String,
    folders: Vec<String>,
}

impl Controller {
    /// Where a file is, as readings tell it: names of groups may name containers, services and people.
    fn source(&self, folder: &str, file: &str) -> String {
        let between = if folder == self.mount { "" } else { "/…" };
        format!("{}{between}/{file}", self.mount)
    }
}

/// Reads all limits; the memory limit in bytes comes back, where there is one.
pub(crate) fn read(tree: &Tree, collector: &mut Collector) -> Option<f64> {
    let groups = tree.text("/proc/self/cgroup").unwrap_or_default();
    let memory = controller(&groups, "memory");
    let limit_file = if memory.is_second { "memory.max" } else { "memory.limit_in_bytes" };
    let (limit, source) = least(tree, &memory, limit_file, limit);
    collector.measured(metric::CGROUP_MEMORY_LIMIT, &[], &source, limit.clone());
    let used_file = if memory.is_second { "memory.current" } else { "memory.usage_in_bytes" };
    let nearest = memory.folders.iter().find(|folder| tree.has(&format!("{folder}/{used_file}")));
    let folder = nearest.unwrap_or(&memory.mount);
    let used = tree.number(&format!("{folder}/{used_file}"));
    collector.measured(metric::CGROUP_MEMORY_USED, &[], &memory.source(folder, used_file), used);
    processors(tree, &controller(&groups, "cpu"), collector);
    limit.ok()
}

fn processors(tree: &Tree, controller: &Controller, collector: &mut Collector) {
    let (found, source) = if controller.is_second {
        least(tree, controller, "cpu.max", |_, text| share(text))
    } else {
        least(tree, controller, "cpu.cfs_quota_us", |folder, quota| {
            let period = tree.text(&format!("{folder}/cpu.cfs_period_us")).ok()?;
            share(&format!("{} {}", quota.trim(), period.trim()))
        })
    };
    collector.measured(metric::CGROUP_CPU_LIMIT, &[], &source, found);
}

/// `100000 50000`: time per period; `max` or -1 is no limit.
fn share(text: &str) -> Option<f64> {
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn limit(_: &str, text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|&bytes: &f64| bytes < UNLIMITED)
}

/// The files of a controller: with the second version all share one folder.
fn controller(groups: &str, name: &str) -> Controller {
    let lines = || groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let first = lines().find(|(names, _)| names.split(',').any(|one| one == name));
    let (is_second, mount, path) = match first {
        Some((_, path)) => (false, format!("/sys/fs/cgroup/{name}"), path),
        None => (
            true,
            "/sys/fs/cgroup".to_owned(),
            lines().find(|(names, _)| names.is_empty()).map_or("/", |(_, path)| path),
        ),
    };
    // A namespace may show a path that begins with `..`; what is above its root is not to be seen.
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
    let folder = |depth: usize| parts[..depth].iter().fold(mount.clone(), |folder, part| folder + "/" + part);
    let folders = (0..=parts.len()).rev().map(folder).collect();
    Controller { is_second, mount, folders }
}

/// The least limit of a group and those above it, and the file that sets it.
fn least(
    tree: &Tree,
    controller: &Controller,
    file: &str,
    read: impl Fn(&str, &str) -> Option<f64>,
) -> (Result<f64, Missing>, String) {
    let mut nearest = None;
    let mut least: Option<(f64, &String)> = None;
    for folder in &controller.folders {
        let Ok(text) = tree.text(&format!("{folder}/{file}")) else { continue };
        nearest.get_or_insert(folder);
        if let Some(value) = read(folder, &text)
            && least.is_none_or(|(known, _)| value < known)
        {
            least = Some((value, folder));
        }
    }
    match (least, nearest) {
        (Some((value, folder)), _) => (Ok(value), controller.source(folder, file)),
        (None, Some(folder)) => (Err(Missing::absent("no limit is set")), controller.source(folder, file)),
        (None, None) => {
            let absent = Missing::absent("no limit is set: there is no such file");
            (Err(absent), controller.source(&controller.mount, file))
        }
    }
}
