//! Device names of requests, looked up once each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hwledger_core::device::{FoundDevices, MemoryType, SpecReference, find};
use hwledger_core::settings::Device;
use hwledger_core::{Assumptions, Bytes};
use hwledger_formats::device_file::DeviceDescription;

use crate::planner::PlanFailure;
use crate::request::{DeviceRequest, bad, counted};

/// Most cards of one request.
const DEVICES_MAX: u64 = 4096;

/// Names kept; a run with more asks for each again.
const NAMES_KEPT: usize = 4096;

/// A name and the memory that was given with it.
type Asked = (String, Option<Bytes>);

/// The names seen so far and what they stand for.
#[derive(Debug, Default)]
pub(crate) struct DeviceNames {
    found: Mutex<HashMap<Asked, FoundDevices>>,
    /// Devices that somebody described, by their names in lower case.
    described: HashMap<String, SpecReference>,
}

impl Clone for DeviceNames {
    fn clone(&self) -> Self {
        // A clone may be given other devices under the same names: it looks each up anew.
        Self { found: Mutex::default(), described: self.described.clone() }
    }
}

impl DeviceNames {
    /// Knows these devices from now on.
    pub(crate) fn describe(&mut self, devices: &[DeviceDescription]) -> Result<(), PlanFailure> {
        for device in devices {
            let spec = described(device)?;
            self.described.insert(device.name.trim().to_lowercase(), spec);
        }
        Ok(())
    }

    /// One device of a request, as its name, its description and its memory say.
    fn one(&self, request: &DeviceRequest, memory: Option<Bytes>) -> Result<FoundDevices, PlanFailure> {
        let own = match &request.spec {
            Some(spec) => Some((1, described(spec)?)),
            // `2x NAME` names a described device as it does one of the catalogue.
            None if self.described.is_empty() => None,
            None => {
                let (count, name) = counted(&request.name);
                self.described.get(&name.to_lowercase()).map(|spec| (count, spec.clone()))
            }
        };
        let mut found = match own {
            None => self.find(&request.name, memory)?,
            Some((count, spec)) => {
                let is_size_assumed = memory.is_none() && spec.memory_sizes.len() > 1;
                let device = Device {
                    name: spec.name.to_string(),
                    memory: memory.or_else(|| spec.standard_size()),
                    kind: spec.kind,
                    spec: Some(spec),
                };
                FoundDevices { count, device, is_size_assumed, suggestions: Vec::new() }
            }
        };
        if let Some(other) = &request.memory {
            let wrong = |value: &str, hint: String| bad("devices.memory", value, hint);
            let kind = MemoryType::parse(&other.kind).ok_or_else(|| {
                let names: Vec<_> = MemoryType::ALL.iter().map(|kind| kind.name()).collect();
                wrong(&other.kind, format!("one of {}", names.join(", ")))
            })?;
            let Some(spec) = &found.device.spec else {
                return Err(wrong(&other.kind, format!("`{}` is no known device", request.name)));
            };
            let spec = spec
                .with_memory(other.bus_bits, other.rate_gt_s, kind)
                .map_err(|error| wrong(kind.name(), error.to_string()))?;
            found.device.name = spec.name.to_string();
            found.device.spec = Some(spec.into());
        }
        Ok(found)
    }

    fn find(&self, name: &str, memory: Option<Bytes>) -> Result<FoundDevices, PlanFailure> {
        let asked = (name.to_owned(), memory);
        // A panic elsewhere leaves whole entries behind, so a poisoned lock still guards a sound map.
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&asked).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = find(name, memory)?;
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= NAMES_KEPT {
            all.clear();
        }
        all.insert(asked, found.clone());
        Ok(found)
    }

    /// The cards that `requests` name, one entry each.
    pub(crate) fn expand(
        &self,
        requests: &[DeviceRequest],
        assumptions: &mut Assumptions,
    ) -> Result<Vec<Device>, PlanFailure> {
        let mut devices = Vec::new();
        for request in requests {
            let memory = match request.memory_gib {
                Some(size) if !(size > 0.0 && size < 1e9) => {
                    return Err(PlanFailure::BadRequest {
                        key: "memory_gib".to_owned(),
                        value: size.to_string(),
                        hint: "a size in GiB above 0".to_owned(),
                    });
                }
                size => size.map(Bytes::from_gibibytes),
            };
            let found = self.one(request, memory)?;
            if let (Some(_), Some(rate)) = (&request.memory, found.device.spec.as_ref().and_then(|spec| spec.bandwidth))
            {
                assumptions.note(
                    "devices.memory",
                    &rate,
                    "its bandwidth follows from the bus; what was measured of the device as sold still corrects it",
                );
            }
            note(&found, request, assumptions);
            let count = found.count.saturating_mul(request.count.unwrap_or(1));
            if count == 0 || count > DEVICES_MAX {
                return Err(PlanFailure::BadRequest {
                    key: "devices".to_owned(),
                    value: count.to_string(),
                    hint: format!("from 1 to {DEVICES_MAX} of one kind"),
                });
            }
            devices.extend((0..count).map(|_| found.device.clone()));
        }
        Ok(devices)
    }
}

/// A description as a device.
fn described(device: &DeviceDescription) -> Result<SpecReference, PlanFailure> {
    let spec = device.spec().map_err(|error| bad("devices.spec", &error.to_string(), error.hint()))?;
    Ok(spec.into())
}

/// Tells what was taken for granted about a name.
fn note(found: &FoundDevices, request: &DeviceRequest, assumptions: &mut Assumptions) {
    if found.device.spec.is_none() {
        let near = match found.suggestions.first() {
            Some(near) => format!("no such device is known; the nearest is `{near}`"),
            None => "no such device is known".to_owned(),
        };
        assumptions.note("devices", &request.name, near);
    }
    if let (true, Some(memory)) = (found.is_size_assumed, found.device.memory) {
        assumptions.note("memory_gib", &memory.gibibytes(), "the device is sold in several sizes and none was named");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::MemoryRequest;

    fn described() -> DeviceDescription {
        DeviceDescription {
            name: "Tomorrow 1".to_owned(),
            kind: Some("nvidia".to_owned()),
            memory_gib: vec![48.0],
            bandwidth_gb_s: Some(1200.0),
            bf16_tflops: Some(400.0),
            ..DeviceDescription::default()
        }
    }

    fn expand(names: &DeviceNames, request: DeviceRequest) -> Result<Vec<Device>, PlanFailure> {
        names.expand(&[request], &mut Assumptions::default())
    }

    #[test]
    fn described_devices_are_named_as_others_are() {
        let mut names = DeviceNames::default();
        names.describe(&[described()]).expect("it is sound");
        let asked = DeviceRequest { name: "2x tomorrow 1".to_owned(), ..DeviceRequest::default() };
        let found = expand(&names, asked).expect("it is known");
        assert_eq!((found.len(), found[0].name.as_str()), (2, "Tomorrow 1"));
        let own = DeviceRequest { name: "mine".to_owned(), spec: Some(described()), ..DeviceRequest::default() };
        let found = expand(&DeviceNames::default(), own).expect("it is described");
        assert_eq!(found[0].memory, Some(Bytes::from_gibibytes(48.0)));
        let wrong = DeviceDescription { bandwidth_gb_s: Some(-1.0), ..described() };
        let wrong = DeviceRequest { name: "mine".to_owned(), spec: Some(wrong), ..DeviceRequest::default() };
        assert!(expand(&names, wrong).expect_err("it is negative").to_string().contains("bandwidth_gb_s"));
    }

    #[test]
    fn other_memory_has_the_bandwidth_of_its_bus() {
        let names = DeviceNames::default();
        let with = |kind: &str, bus_bits| DeviceRequest {
            name: "RTX 4090".to_owned(),
            memory: Some(MemoryRequest { kind: kind.to_owned(), bus_bits, rate_gt_s: 28.0 }),
            ..DeviceRequest::default()
        };
        let found = expand(&names, with("GDDR7", 384)).expect("a memory");
        let rate = found[0].spec.as_ref().and_then(|spec| spec.bandwidth).expect("it follows");
        assert!((rate.gigabytes() - 1344.0).abs() < 1e-9);
        assert!(expand(&names, with("GDDR7", 7)).is_err() && expand(&names, with("paper tape", 384)).is_err());
    }
}
