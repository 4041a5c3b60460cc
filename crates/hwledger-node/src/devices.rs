//! Device names of requests, looked up once each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hwledger_core::device::{FoundDevices, find};
use hwledger_core::settings::Device;
use hwledger_core::{Assumptions, Bytes};

use crate::planner::PlanFailure;
use crate::request::DeviceRequest;

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
}

impl DeviceNames {
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
            let found = self.find(&request.name, memory)?;
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
