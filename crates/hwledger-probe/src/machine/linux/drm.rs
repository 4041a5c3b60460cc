//! Graphics devices as the kernel lists them.

use super::fdinfo::Clients;
use super::tree::Tree;
use super::{amd, intel, pci_names};
use crate::machine::collect::Collector;
use crate::machine::device::{Device, DeviceKind, DeviceSnapshot, MemoryKind, Vendor};
use crate::machine::metric;
use crate::machine::rate::Rates;

const CARDS: &str = "/sys/class/drm";
/// Devices that are looked at.
const DEVICES_MAX: usize = 64;

/// Which driver's files a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Amdgpu,
    I915,
    Xe,
    /// None that is known; the device is listed and no more.
    Unknown,
}

/// One graphics device.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    /// `/sys/class/drm/card0`.
    pub(crate) folder: String,
    pub(crate) device: Device,
    pub(crate) dialect: Dialect,
}

impl Card {
    /// The folder of the PCI device.
    pub(crate) fn device_folder(&self) -> String {
        format!("{}/device", self.folder)
    }

    /// The device's address on its bus.
    pub(crate) fn address(&self) -> &str {
        self.device.pci_address.as_deref().unwrap_or_default()
    }
}

/// Every card; those that NVML knows (`known` addresses) are left to it.
pub(crate) fn cards(tree: &Tree, known: &[String]) -> Vec<Card> {
    let names = tree.names(CARDS);
    let is_card =
        |name: &&String| name.strip_prefix("card").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let cards = names.iter().filter(is_card).filter_map(|name| card(tree, &format!("{CARDS}/{name}")));
    cards.filter(|card| !known.iter().any(|address| address == card.address())).take(DEVICES_MAX).collect()
}

/// `DRIVER=amdgpu`, `PCI_ID=1002:73BF`, `PCI_SLOT_NAME=0000:03:00.0`.
fn card(tree: &Tree, folder: &str) -> Option<Card> {
    let text = tree.text(&format!("{folder}/device/uevent")).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let (vendor, number) = field("PCI_ID")?.split_once(':')?;
    let (vendor, number) = (u32::from_str_radix(vendor, 16).ok()?, u32::from_str_radix(number, 16).ok()?);
    let address = field("PCI_SLOT_NAME")?.to_owned();
    let driver = field("DRIVER").map(str::to_owned);
    let dialect = match driver.as_deref() {
        Some("amdgpu") => Dialect::Amdgpu,
        Some("i915") => Dialect::I915,
        Some("xe") => Dialect::Xe,
        _ => Dialect::Unknown,
    };
    let maker = Vendor::of_pci(vendor);
    let product = tree.word(&format!("{folder}/device/product_name"));
    let listed = || pci_names::name(tree, vendor, number).map(|name| format!("{} {name}", maker.name()));
    let numbers = || format!("{} {vendor:04x}:{number:04x}", maker.name());
    let memory_kind = match dialect {
        Dialect::Amdgpu => amd::memory_kind(tree, folder),
        Dialect::I915 | Dialect::Xe => intel::memory_kind(&address),
        Dialect::Unknown => MemoryKind::Unknown,
    };
    let driver_version = driver.as_ref().and_then(|driver| tree.word(&format!("/sys/module/{driver}/version")));
    let device = Device {
        id: format!("pci-{address}"),
        vendor: maker,
        kind: DeviceKind::Gpu,
        name: product.or_else(listed).unwrap_or_else(numbers),
        driver,
        driver_version,
        pci_address: Some(address),
        memory_kind,
    };
    Some(Card { folder: folder.to_owned(), device, dialect })
}

/// Everything that is read from one card.
pub(crate) fn read(tree: &Tree, card: &Card, clients: &Clients, rates: &mut Rates, at_ns: u64) -> DeviceSnapshot {
    let mut collector = Collector::new(at_ns);
    let source = format!("{}/power/runtime_status", card.device_folder());
    // Reading a sensor wakes a sleeping card, and a probe that does so each second keeps it awake for good.
    let asleep = tree.text(&source).map(|word| f64::from(u8::from(matches!(word.trim(), "suspended" | "suspending"))));
    let is_asleep = asleep == Ok(1.0);
    if card.dialect != Dialect::Unknown {
        collector.measured(metric::DEVICE_ASLEEP, &[], &source, asleep);
    }
    if !is_asleep {
        match card.dialect {
            Dialect::Amdgpu => amd::read(tree, card, clients, rates, &mut collector),
            Dialect::I915 | Dialect::Xe => intel::read(tree, card, clients, rates, &mut collector),
            Dialect::Unknown => {}
        }
    }
    DeviceSnapshot { device: card.device.clone(), readings: collector.finish() }
}
