//! What is wrong around the devices: drivers that are missing, files that may not be opened.

use std::fs::OpenOptions;
use std::io::ErrorKind;

use super::device::{Note, Vendor};
use super::linux::drm::{Card, Dialect};
use super::linux::energy;
use super::linux::tree::Tree;
use super::nvidia::Nvidia;

const DEVICES: &str = "/sys/bus/pci/devices";

/// Everything that people should know, found once.
pub(super) fn of(tree: &Tree, cards: &[Card], nvidia: &Nvidia, is_live: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    let known: Vec<&str> =
        cards.iter().map(Card::address).chain(nvidia.addresses().iter().map(String::as_str)).collect();
    let strangers = strangers(tree, &known);
    let needs_nvidia = cards.iter().map(|card| card.device.vendor).chain(strangers.iter().map(|(vendor, _)| *vendor));
    notes.extend(nvidia.note(needs_nvidia.into_iter().any(|vendor| vendor == Vendor::Nvidia)));
    notes.extend(strangers.into_iter().map(|(_, note)| note));
    notes.extend(cards.iter().filter(|card| card.dialect == Dialect::Unknown).map(|card| Note {
        source: card.folder.clone(),
        text: format!(
            "nothing can be read from {}: its driver, {}, offers no telemetry that is known",
            card.device.name,
            card.device.driver.as_deref().unwrap_or("none")
        ),
    }));
    if is_live {
        notes.extend(cards.iter().filter(|card| card.dialect != Dialect::Unknown).filter_map(|card| node(tree, card)));
    }
    notes.extend(energy::refused(tree).map(|(source, reason)| Note {
        source,
        text: format!("{reason}: the kernel lets only root read the energy of the processors"),
    }));
    if !cfg!(any(target_os = "linux", target_os = "macos")) && is_live {
        let text = "only NVIDIA devices are read on this system: processors, memory and disks are not";
        notes.push(Note { source: std::env::consts::OS.to_owned(), text: text.to_owned() });
    }
    notes
}

/// PCI devices that show pictures (class 03) or compute (class 12) and that nobody reads.
fn strangers(tree: &Tree, known: &[&str]) -> Vec<(Vendor, Note)> {
    let number = |path: &str| u32::from_str_radix(tree.word(path)?.trim_start_matches("0x"), 16).ok();
    let stranger = |address: &String| {
        let folder = format!("{DEVICES}/{address}");
        let class = number(&format!("{folder}/class"))? >> 16;
        let vendor = Vendor::of_pci(number(&format!("{folder}/vendor"))?);
        // Servers show their console by a chip of another maker, which computes nothing.
        if !matches!(class, 0x03 | 0x12) || vendor == Vendor::Other || known.contains(&address.as_str()) {
            return None;
        }
        let driver = tree.link(&format!("{folder}/driver")).and_then(|link| link.rsplit('/').next().map(str::to_owned));
        let state =
            driver.map_or("no driver is loaded".to_owned(), |driver| format!("the driver `{driver}` shows nothing"));
        let text = format!("a device of {} is on the bus, and {state}", vendor.name());
        Some((vendor, Note { source: folder, text }))
    };
    tree.names(DEVICES).iter().filter_map(stranger).collect()
}

/// Whether the file by which programs compute on a card may be opened.
fn node(tree: &Tree, card: &Card) -> Option<Note> {
    let names = tree.names(&format!("{}/drm", card.device_folder()));
    let name = names.iter().find(|name| name.starts_with("renderD"))?;
    let source = format!("/dev/dri/{name}");
    let error = OpenOptions::new().read(true).write(true).open(&source).err()?;
    let device = &card.device.name;
    let text = match error.kind() {
        ErrorKind::NotFound => format!("{device} has no render node here: was the container started without it?"),
        ErrorKind::PermissionDenied => {
            format!("this user may not open the render node of {device}: the group `render` may")
        }
        _ => format!("the render node of {device} cannot be opened: {error}"),
    };
    Some(Note { source, text })
}
