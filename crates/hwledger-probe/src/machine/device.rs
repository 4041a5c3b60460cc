//! What a snapshot of a machine holds.

use serde::{Deserialize, Serialize};

use crate::{Outcome, Reading};

/// Who made a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
    /// Apple.
    Apple,
    /// Anyone else.
    Other,
}

impl Vendor {
    /// The maker of a PCI device, by its vendor number.
    pub(crate) const fn of_pci(number: u32) -> Self {
        match number {
            0x10de => Self::Nvidia,
            0x1002 => Self::Amd,
            0x8086 => Self::Intel,
            0x106b => Self::Apple,
            _ => Self::Other,
        }
    }

    /// Its name, as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
            Self::Apple => "Apple",
            Self::Other => "other",
        }
    }
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Graphics, or arithmetic made like graphics.
    Gpu,
}

/// Where a device's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryKind {
    /// On the card.
    Dedicated,
    /// The host's, shared with its processors.
    Unified,
    /// Its driver does not say.
    Unknown,
}

/// A device: what does not change while it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// What names it for good: the vendor's identifier, or else its address on the bus (`pci-0000:03:00.0`).
    pub id: String,
    /// Who made it.
    pub vendor: Vendor,
    /// What it is.
    pub kind: DeviceKind,
    /// Its name, as its driver or the list of PCI devices says; else the numbers of vendor and device.
    pub name: String,
    /// Its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The driver's version, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// Address on the PCI bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_address: Option<String>,
    /// Where its memory is.
    pub memory_kind: MemoryKind,
}

/// A device and what was read from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceSnapshot {
    /// The device.
    pub device: Device,
    /// What was read.
    pub readings: Vec<Reading>,
}

/// The machine around the devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Version of its kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Processor architecture (`x86_64`).
    pub architecture: String,
    /// Name of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// What was read.
    pub readings: Vec<Reading>,
}

/// Something about the probe itself that people should know: a source that is not there, a file that may not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What it is about: a library or a file.
    pub source: String,
    /// What about it.
    pub text: String,
}

/// A machine at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was begun, in nanoseconds since 1970 by the machine's clock.
    pub taken_at_ns: u64,
    /// The machine around the devices.
    pub host: Host,
    /// Its devices, in the order of their identifiers.
    pub devices: Vec<DeviceSnapshot>,
    /// What people should know about the probe itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

impl Host {
    /// The first number of a metric, whatever its labels.
    pub fn value(&self, metric: &str) -> Option<f64> {
        value(&self.readings, metric)
    }
}

impl DeviceSnapshot {
    /// The first number of a metric, whatever its labels.
    pub fn value(&self, metric: &str) -> Option<f64> {
        value(&self.readings, metric)
    }
}

/// Longest text of a snapshot in bytes. Recordings with longer ones are refused, so none is made.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// Whether a text is short enough and changes no terminal.
pub(crate) fn is_plain(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

impl Snapshot {
    /// Every text in it.
    pub(crate) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let host = &mut self.host;
        let of_host = [&mut host.system, &mut host.kernel, &mut host.processor].into_iter().flatten();
        let of_host = of_host.chain([&mut host.architecture]).chain(host.readings.iter_mut().flat_map(texts));
        let of_devices = self.devices.iter_mut().flat_map(|one| {
            let device = &mut one.device;
            let known = [&mut device.driver, &mut device.driver_version, &mut device.pci_address].into_iter().flatten();
            known.chain([&mut device.id, &mut device.name]).chain(one.readings.iter_mut().flat_map(texts))
        });
        let of_notes = self.notes.iter_mut().flat_map(|note| [&mut note.source, &mut note.text]);
        of_host.chain(of_devices).chain(of_notes)
    }

    /// Takes out of every text what drivers, firmware and labels should not have put there.
    pub(crate) fn make_plain(&mut self) {
        for text in self.texts().filter(|text| !is_plain(text)) {
            let kept: String = text.chars().filter(|letter| !letter.is_control()).take(TEXT_BYTES_MAX / 4).collect();
            *text = kept;
        }
    }
}

/// Every text of a reading.
fn texts(reading: &mut Reading) -> impl Iterator<Item = &mut String> {
    let reason = match &mut reading.outcome {
        Outcome::Measured { .. } | Outcome::Derived { .. } => None,
        Outcome::Unsupported { reason } | Outcome::Error { reason } => Some(reason),
    };
    let labels = reading.labels.iter_mut().flat_map(|(key, value)| [key, value]);
    [&mut reading.metric, &mut reading.source].into_iter().chain(labels).chain(reason)
}

fn value(readings: &[Reading], metric: &str) -> Option<f64> {
    readings.iter().filter(|reading| reading.metric == metric).find_map(|reading| reading.outcome.value())
}
