//! What disks do, and the space of their file systems.

use std::path::Path;

use super::tree::Tree;
use crate::machine::collect::{Collector, Missing};
use crate::machine::metric;
use crate::machine::rate::Rates;

/// Disks that are told apart.
const DISKS_MAX: usize = 32;
/// The unit of `/proc/diskstats`, whatever the disk's own is.
const SECTOR_BYTES: f64 = 512.0;
const STATISTICS: &str = "/proc/diskstats";

/// Reads every disk, and on the machine itself the space of file systems on disks.
pub(crate) fn read(tree: &Tree, is_live: bool, rates: &mut Rates, collector: &mut Collector) {
    traffic(tree, rates, collector);
    spaces(tree, is_live, collector);
}

fn traffic(tree: &Tree, rates: &mut Rates, collector: &mut Collector) {
    let Ok(text) = tree.text(STATISTICS) else { return };
    let at_ns = collector.at_ns();
    let rows = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some((*fields.get(2)?, fields.get(5)?.parse::<f64>(), fields.get(9)?.parse::<f64>()))
    });
    for (name, read, written) in rows.filter(|(name, ..)| is_disk(tree, name)).take(DISKS_MAX) {
        let directions = [
            (read, metric::HOST_DISK_READ, metric::HOST_DISK_READ_RATE, "read"),
            (written, metric::HOST_DISK_WRITTEN, metric::HOST_DISK_WRITE_RATE, "written"),
        ];
        for (sectors, total, rate, verb) in directions {
            let bytes = sectors.map(|sectors| sectors * SECTOR_BYTES);
            let bytes = bytes.map_err(|_| Missing::Failed("it has no number there".to_owned()));
            let key = format!("disk {name} {verb}");
            let gained = bytes.clone().and_then(|bytes| rates.per_second(&key, bytes, None, at_ns));
            collector.measured(total, &[("disk", name)], STATISTICS, bytes);
            collector.held(rate, &[("disk", name)], STATISTICS, gained);
        }
    }
}

/// Whether it is a whole disk of its own: no partition, and nothing that is made of memory, files or other disks.
fn is_disk(tree: &Tree, name: &str) -> bool {
    let is_made = ["loop", "ram", "zram", "dm-", "md"].iter().any(|made| name.starts_with(made));
    !is_made && tree.has(&format!("/sys/block/{name}"))
}

/// A file system is named by its disk, not by where it is mounted: that path may name a person.
fn spaces(tree: &Tree, is_live: bool, collector: &mut Collector) {
    if !is_live {
        return;
    }
    let Ok(text) = tree.text("/proc/self/mounts") else { return };
    let mut seen: Vec<&str> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let (Some(disk), Some(mount)) = (fields.next(), fields.next()) else { continue };
        let Some(name) = disk.strip_prefix("/dev/") else { continue };
        if name.starts_with("loop") || seen.contains(&name) || seen.len() >= DISKS_MAX {
            continue;
        }
        seen.push(name);
        let (total, free) = space(&mount.replace("\\040", " "));
        collector.measured(metric::HOST_FILESYSTEM_TOTAL, &[("disk", name)], "statvfs", total);
        collector.measured(metric::HOST_FILESYSTEM_FREE, &[("disk", name)], "statvfs", free);
    }
}

/// Bytes that users may take of the file system that holds `path`, or would hold it; none where the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|folder| folder.exists())?;
    let (_, free) = space(there.to_str()?);
    // Counts of bytes are whole and far below 2^53.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a space is no less than zero")]
    free.ok().map(|bytes| bytes as u64)
}

#[cfg(unix)]
fn space(mount: &str) -> (Result<f64, Missing>, Result<f64, Missing>) {
    match rustix::fs::statvfs(mount) {
        Ok(space) => {
            let block = space.f_frsize as f64;
            (Ok(space.f_blocks as f64 * block), Ok(space.f_bavail as f64 * block))
        }
        Err(error) => {
            let failed = Missing::Failed(error.to_string());
            (Err(failed.clone()), Err(failed))
        }
    }
}

#[cfg(not(unix))]
fn space(_: &str) -> (Result<f64, Missing>, Result<f64, Missing>) {
    let absent = Missing::absent("this system offers no such call");
    (Err(absent.clone()), Err(absent))
}
