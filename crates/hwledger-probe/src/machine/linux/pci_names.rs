//! Names of PCI devices, from the list that most systems keep.

use super::tree::Tree;

/// Where systems keep it.
const LISTS: [&str; 3] = ["/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids", "/usr/share/pci.ids"];
const BYTES_MAX: u64 = 8 << 20;

/// The name of a device, with its maker's before it.
///
/// A line without an indent is a maker, `vvvv  Name`; below it each line with one tab is a device.
pub(crate) fn name(tree: &Tree, vendor: u32, device: u32) -> Option<String> {
    let bytes = LISTS.iter().find_map(|list| tree.bytes(list, BYTES_MAX).ok())?;
    let text = String::from_utf8_lossy(&bytes);
    let head = format!("{vendor:04x}  ");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&head));
    lines.next()?;
    let wanted = format!("\t{device:04x}  ");
    lines
        .take_while(|line| line.starts_with('\t') || line.starts_with('#') || line.is_empty())
        .find_map(|line| line.strip_prefix(&wanted))
        .map(|name| name.trim().to_owned())
}
