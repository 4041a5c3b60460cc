//! The machine's devices as the ledger knows them: each is told once, and again where something about it is not what it
//! was.

use hwledger_ledger::event::{Count, DeviceChanged, DeviceObserved, Draft, Event, Payload};
use hwledger_ledger::store::{AppendError, StoreError};

use super::RecordError;
use crate::ledger::Ledger;
use crate::probe::Snapshot;
use crate::probe::metric::{DEVICE_MEMORY_TOTAL, HOST_MEMORY_TOTAL};

/// The processors' name among devices.
const PROCESSOR: &str = "processor";

/// Memory that differs by less than this share is the same: systems keep a little more or less for themselves.
const SAME: f64 = 0.01;

/// Events of one stream that are read: every one.
const ALL: u64 = i64::MAX.cast_unsigned();

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in whole bytes, below 2^53")]
fn bytes(value: Option<f64>) -> Option<Count> {
    value.map(|bytes| Count(bytes as u64))
}

/// Who made a processor that calls itself so.
fn maker(name: &str) -> &'static str {
    let makers = [("intel", "Intel"), ("amd", "AMD"), ("apple", "Apple"), ("ampere", "Ampere"), ("neoverse", "Arm")];
    let name = name.to_lowercase();
    makers.into_iter().find(|(word, _)| name.contains(word)).map_or("other", |(_, maker)| maker)
}

/// What the machine has: its processors, and its devices.
fn found(snapshot: &Snapshot) -> Vec<DeviceObserved> {
    let host = &snapshot.host;
    let name = host.processor.clone().unwrap_or_else(|| host.architecture.clone());
    let processor = DeviceObserved {
        device: PROCESSOR.to_owned(),
        vendor: maker(&name).to_owned(),
        name,
        memory_bytes: bytes(host.value(HOST_MEMORY_TOTAL.name)),
        driver: host.kernel.as_ref().map(|kernel| format!("kernel {kernel}")),
    };
    let device = |one: &crate::probe::DeviceSnapshot| {
        let version = one.device.driver_version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        DeviceObserved {
            device: one.device.id.clone(),
            vendor: one.device.vendor.name().to_owned(),
            name: one.device.name.clone(),
            memory_bytes: bytes(one.value(DEVICE_MEMORY_TOTAL.name)),
            driver: one.device.driver.as_ref().map(|driver| format!("{driver}{version}")),
        }
    };
    std::iter::once(processor).chain(snapshot.devices.iter().map(device)).collect()
}

/// What the ledger knows of a device, and how many events its stream has.
fn known(ledger: &Ledger, subject: &str) -> Result<(Option<DeviceObserved>, u64), RecordError> {
    let entries = ledger.reader()?.stream(subject, ALL)?;
    let mut known: Option<DeviceObserved> = None;
    for bytes in entries.iter().filter_map(|entry| entry.bytes.as_ref()) {
        let event = Event::parse(bytes).map_err(StoreError::from)?;
        match event.payload().map_err(StoreError::from)? {
            Some(Payload::DeviceObserved(observed)) => known = Some(observed),
            Some(Payload::DeviceChanged(changed)) => {
                let Some(known) = &mut known else { continue };
                match changed.field.as_str() {
                    "vendor" => known.vendor = changed.new.unwrap_or_default(),
                    "name" => known.name = changed.new.unwrap_or_default(),
                    "memory_bytes" => known.memory_bytes = changed.new.and_then(|new| new.parse().ok()).map(Count),
                    "driver" => known.driver = changed.new,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok((known, entries.len() as u64))
}

/// What is not as it was. What is not told this time is no change: a device that sleeps says less.
fn changes(old: &DeviceObserved, new: &DeviceObserved) -> Vec<DeviceChanged> {
    let device = &new.device;
    let text = |count: Option<Count>| count.map(|count| count.0.to_string());
    let is_near = |old: Count, new: Count| (old.0 as f64 - new.0 as f64).abs() <= SAME * old.0 as f64;
    let is_same_size = old.memory_bytes.zip(new.memory_bytes).is_some_and(|(old, new)| is_near(old, new));
    let memory = if is_same_size { text(old.memory_bytes) } else { text(new.memory_bytes) };
    let fields = [
        ("vendor", Some(old.vendor.clone()), Some(new.vendor.clone())),
        ("name", Some(old.name.clone()), Some(new.name.clone())),
        ("memory_bytes", text(old.memory_bytes), memory),
        ("driver", old.driver.clone(), new.driver.clone()),
    ];
    let changed = fields.into_iter().filter(|(_, old, new)| new.is_some() && old != new);
    let change =
        |(field, old, new): (&str, _, _)| DeviceChanged { device: device.clone(), field: field.to_owned(), old, new };
    changed.map(change).collect()
}

/// Tells the ledger of devices that it does not know, and of what about others is not what it knew.
///
/// # Errors
///
/// The ledger cannot be read, or takes nothing.
pub(super) fn observe(ledger: &Ledger, snapshot: &Snapshot) -> Result<(), RecordError> {
    let mut drafts = Vec::new();
    for device in found(snapshot) {
        let subject = format!("device/{}", device.device);
        let (known, events) = known(ledger, &subject)?;
        let payloads: Vec<Payload> = match known {
            None => vec![device.into()],
            Some(known) => changes(&known, &device).into_iter().map(Payload::from).collect(),
        };
        for (place, payload) in payloads.into_iter().enumerate() {
            let expected_version = Some(events + place as u64);
            drafts.push(Draft { expected_version, ..Draft::new("hwledger/record", &subject, payload) });
        }
    }
    for result in ledger.append_all(&drafts)? {
        match result {
            // Another process has just said the same.
            Ok(_) | Err(AppendError::Version { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
