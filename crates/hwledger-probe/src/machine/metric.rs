//! A table of the canonical names of what is read from a machine.

use crate::Unit;

/// One metric: its name and what its numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Canonical name; the unit is part of it.
    pub name: &'static str,
    /// What its numbers count.
    pub unit: Unit,
    /// What it says, in a few words.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $unit:ident, $help:literal;)*) => {
        $(#[doc = $help]
        pub const $constant: Metric = Metric { name: $name, unit: Unit::$unit, help: $help };)*

        /// Every metric of the machine, in the order in which faces print them.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    DEVICE_MEMORY_TOTAL = "hwl_device_memory_total_bytes", Bytes, "Memory of the device";
    DEVICE_MEMORY_USED = "hwl_device_memory_used_bytes", Bytes, "Memory of the device that is in use";
    DEVICE_MEMORY_FREE = "hwl_device_memory_free_bytes", Bytes, "Memory of the device that is free";
    DEVICE_MEMORY_RESERVED = "hwl_device_memory_reserved_bytes", Bytes, "Memory that the driver keeps for itself";
    DEVICE_POOL_TOTAL = "hwl_device_memory_pool_total_bytes", Bytes,
        "Size of one pool (`vram`: on the card or carved out; `gtt`: of the host, mapped for the device; `window`: through which the host reaches the card's, a power of two no less than it)";
    DEVICE_POOL_USED = "hwl_device_memory_pool_used_bytes", Bytes, "Use of one pool";
    DEVICE_UTILIZATION = "hwl_device_utilization_ratio", Ratio, "Share of time in which the device computed something";
    DEVICE_ENGINE_UTILIZATION = "hwl_device_engine_utilization_ratio", Ratio,
        "Share of time in which one engine of the device was busy, over the processes that may be looked into";
    DEVICE_MEMORY_BANDWIDTH = "hwl_device_memory_bandwidth_ratio", Ratio,
        "Share of time in which the device's memory was read or written";
    DEVICE_POWER = "hwl_device_power_watts", Watts, "Power that the device draws";
    DEVICE_POWER_LIMIT = "hwl_device_power_limit_watts", Watts, "Power that the device may draw";
    DEVICE_ENERGY = "hwl_device_energy_joules_total", Joules,
        "Energy that the device took: its own counter, or else summed from power since the probe began";
    DEVICE_TEMPERATURE = "hwl_device_temperature_celsius", Celsius, "Temperature at one sensor of the device";
    DEVICE_CLOCK = "hwl_device_clock_hertz", Hertz, "Clock of one domain of the device";
    DEVICE_FAN = "hwl_device_fan_revolutions_per_minute", Count, "Revolutions per minute of a fan of the device";
    DEVICE_FAN_RATIO = "hwl_device_fan_ratio", Ratio, "Speed of the device's fan as a share of its highest";
    DEVICE_THROTTLE = "hwl_device_throttle", Flag, "Whether the device holds its clocks back for one reason";
    DEVICE_ECC_ERRORS = "hwl_device_ecc_errors_total", Count, "Memory errors since the driver was loaded";
    DEVICE_ASLEEP = "hwl_device_asleep", Flag, "Whether the device sleeps; reading more would wake it";
    PROCESS_DEVICE_MEMORY = "hwl_process_device_memory_bytes", Bytes, "Memory of the device that one process holds";
    HOST_PROCESSORS = "hwl_host_processors", Count, "Logical processors that are online";
    HOST_CPU_UTILIZATION = "hwl_host_cpu_utilization_ratio", Ratio, "Share of time in which processors were busy";
    HOST_CPU_CLOCK = "hwl_host_cpu_clock_hertz", Hertz, "Clock of one processor";
    HOST_LOAD = "hwl_host_load_average", Count, "Tasks that run or wait, averaged over so many minutes";
    HOST_MEMORY_TOTAL = "hwl_host_memory_total_bytes", Bytes, "Memory of the host";
    HOST_MEMORY_AVAILABLE = "hwl_host_memory_available_bytes", Bytes, "Memory that can be had without swapping";
    HOST_MEMORY_USED = "hwl_host_memory_used_bytes", Bytes, "Memory that cannot be had: total less available";
    HOST_MEMORY_LIMIT = "hwl_host_memory_limit_bytes", Bytes, "Memory that this process may use: the least limit";
    HOST_MEMORY_PRESSURE = "hwl_host_memory_pressure_ratio", Ratio,
        "Share of the last ten seconds in which a task waited for memory";
    HOST_SWAP_TOTAL = "hwl_host_swap_total_bytes", Bytes, "Swap space";
    HOST_SWAP_FREE = "hwl_host_swap_free_bytes", Bytes, "Swap space that is free";
    CGROUP_MEMORY_LIMIT = "hwl_host_cgroup_memory_limit_bytes", Bytes, "Memory limit of this process's control group";
    CGROUP_MEMORY_USED = "hwl_host_cgroup_memory_used_bytes", Bytes, "Memory that this control group uses";
    CGROUP_CPU_LIMIT = "hwl_host_cgroup_cpu_limit", Count, "Processors' worth of time that this control group may use";
    HOST_DISK_READ = "hwl_host_disk_read_bytes_total", Bytes, "Bytes read from one disk";
    HOST_DISK_WRITTEN = "hwl_host_disk_written_bytes_total", Bytes, "Bytes written to one disk";
    HOST_DISK_READ_RATE = "hwl_host_disk_read_bytes_per_second", BytesPerSecond, "Rate of reading from one disk";
    HOST_DISK_WRITE_RATE = "hwl_host_disk_write_bytes_per_second", BytesPerSecond, "Rate of writing to one disk";
    HOST_FILESYSTEM_TOTAL = "hwl_host_filesystem_total_bytes", Bytes, "Size of one file system";
    HOST_FILESYSTEM_FREE = "hwl_host_filesystem_free_bytes", Bytes, "Space of one file system that users may take";
    HOST_LINK = "hwl_host_link_bytes_total", Bytes, "Bytes over one network interface in one direction";
    HOST_ENERGY = "hwl_host_energy_joules_total", Joules, "Energy that one domain of the processors took";
    HOST_POWER = "hwl_host_power_watts", Watts, "Power of one domain of the processors";
    HOST_POWER_LIMIT = "hwl_host_power_limit_watts", Watts, "Power that one package of the processors may draw for long";
    HOST_TEMPERATURE = "hwl_host_temperature_celsius", Celsius, "Temperature at one sensor of the host";
}

/// The metric of this name.
pub fn named(name: &str) -> Option<Metric> {
    METRICS.iter().find(|metric| metric.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::METRICS;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_distinct_and_plain() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for name in names {
            assert!(name.starts_with("hwl_") && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()));
        }
    }
}
