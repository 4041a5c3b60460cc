//! Processors, memory, control groups, disks, energy.

use crate::tree::Tree;
use crate::{SECOND, START, derived, measured, picture, reading};
use hwledger_probe::Outcome;

#[test]
fn a_server_is_read_in_full() {
    let tree = Tree::unpack("server");
    let mut machine = tree.machine();
    let _ = machine.snapshot(START);
    tree.write("proc/stat", "cpu  1060 0 530 8050 510 0 0 0 0 0\ncpu0 0 0 0 0\ncpu1 0 0 0 0\n");
    // The counter of the package wraps.
    tree.write("sys/class/powercap/intel-rapl:0/energy_uj", "56671150");
    let disks = " 259 0 nvme0n1 1000 0 2004096 10 500 0 4008192 10 0 10 20\n";
    tree.write("proc/diskstats", disks);
    let snapshot = machine.snapshot(START + 2 * SECOND);
    let host = &snapshot.host.readings;
    let get = |metric: &str, label: Option<&str>| &reading(host, metric, label).outcome;
    assert_eq!(get("hwl_host_cpu_utilization_ratio", None), &derived(0.6), "90 of 150 ticks; waiting is idle");
    assert_eq!(get("hwl_host_cgroup_memory_limit_bytes", None), &measured(34_359_738_368.0), "the group above limits");
    assert_eq!(get("hwl_host_memory_limit_bytes", None), &derived(34_359_738_368.0));
    assert_eq!(get("hwl_host_cgroup_cpu_limit", None), &measured(1.5));
    assert_eq!(get("hwl_host_memory_pressure_ratio", None), &measured(0.025));
    assert_eq!(get("hwl_host_disk_read_bytes_per_second", Some("nvme0n1")), &derived(1_048_576.0));
    assert_eq!(get("hwl_host_disk_write_bytes_per_second", Some("nvme0n1")), &derived(2_097_152.0));
    let Outcome::Derived { value: watts } = get("hwl_host_power_watts", Some("package-0")) else { panic!("no power") };
    assert!((watts - 100.0).abs() < 1e-6, "200 J in 2 s across the wrap, not {watts}");
    let limit = get("hwl_host_power_limit_watts", Some("package-0"));
    assert_eq!(limit, &measured(125.0), "what the maker allows, where the board sets no limit");
    insta::assert_snapshot!(picture(&snapshot));
}

#[test]
fn control_groups_of_the_first_version_limit_too() {
    let snapshot = Tree::unpack("this-machine").machine().snapshot(START);
    let host = &snapshot.host.readings;
    let limit = reading(host, "hwl_host_cgroup_memory_limit_bytes", None);
    assert_eq!(limit.outcome, measured(8_589_934_592.0));
    assert_eq!(limit.source, "/sys/fs/cgroup/memory/…/memory.limit_in_bytes", "the group's name stays here");
    let time = &reading(host, "hwl_host_cgroup_cpu_limit", None).outcome;
    assert_eq!(time, &Outcome::Unsupported { reason: "no limit is set".to_owned() });
    insta::assert_snapshot!(picture(&snapshot));
}

#[test]
fn across_a_long_gap_rates_stand_with_their_age() {
    let tree = Tree::unpack("server");
    let mut machine = tree.machine();
    let _ = machine.snapshot(START);
    tree.write("proc/stat", "cpu  1060 0 530 8050 510 0 0 0 0 0\n");
    let _ = machine.snapshot(START + SECOND);
    tree.write("proc/stat", "cpu  9999 0 530 8050 510 0 0 0 0 0\n");
    let snapshot = machine.snapshot(START + 3600 * SECOND);
    let busy = reading(&snapshot.host.readings, "hwl_host_cpu_utilization_ratio", None);
    assert_eq!((&busy.outcome, busy.taken_at_ns), (&derived(0.6), START + SECOND));
}

#[test]
fn an_empty_tree_is_all_reasons_and_no_number() {
    let tree = Tree::unpack("amd-card");
    let empty = tree.root.join("nothing");
    std::fs::create_dir_all(&empty).unwrap();
    let snapshot = hwledger_probe::machine::Machine::recorded(&empty).snapshot(START);
    assert!(!snapshot.host.readings.is_empty());
    assert!(snapshot.host.readings.iter().all(|reading| reading.outcome.value().is_none()), "{}", picture(&snapshot));
}

#[test]
fn hostile_files_give_errors_and_nothing_worse() {
    let tree = Tree::unpack("server");
    for path in ["proc/stat", "proc/meminfo", "proc/loadavg", "proc/diskstats", "proc/net/dev", "proc/self/cgroup"] {
        for text in [
            "",
            "\n",
            "cpu",
            "cpu  ",
            ":",
            "MemTotal: x kB",
            "0::/../../../..",
            "hex:00ff00ff0a",
            "1 1 1 1 1 1 1 1 1 1",
        ] {
            tree.write(path, text);
            let _ = tree.machine().snapshot(START);
        }
        tree.write(path, &"cpu  99999999999999999999999999 nan inf -1 \n".repeat(20_000));
        let snapshot = tree.machine().snapshot(START);
        assert!(snapshot.host.readings.iter().filter_map(|reading| reading.outcome.value()).all(f64::is_finite));
    }
}
