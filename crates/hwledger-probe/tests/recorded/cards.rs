//! Devices of AMD and Intel.

use crate::tree::Tree;
use crate::{SECOND, START, derived, measured, of, picture, reading};
use hwledger_probe::Outcome;
use hwledger_probe::machine::MemoryKind;

const GIBIBYTE: f64 = 1_073_741_824.0;

#[test]
fn an_amd_card_is_read_in_full() {
    let tree = Tree::unpack("amd-card");
    let mut machine = tree.machine();
    let _ = machine.snapshot(START);
    tree.write(
        "proc/4242/fdinfo/7",
        "drm-driver:\tamdgpu\ndrm-client-id:\t31\ndrm-pdev:\t0000:03:00.0\ndrm-memory-vram:\t8388608 KiB\n\
         drm-engine-gfx:\t1000000000 ns\ndrm-engine-compute:\t5750000000 ns\n",
    );
    let snapshot = machine.snapshot(START + SECOND);
    let [card] = &snapshot.devices[..] else { panic!("one card has one device: {:?}", snapshot.devices) };
    assert_eq!(card.device.memory_kind, MemoryKind::Dedicated);
    assert_eq!(card.device.name, "AMD Navi 32 [Radeon RX 7700 XT / 7800 XT]");
    assert_eq!(of(card, "hwl_device_memory_total_bytes"), &measured(17_163_091_968.0));
    assert_eq!(of(card, "hwl_device_power_watts"), &measured(212.0));
    assert_eq!(of(card, "hwl_device_energy_joules_total"), &derived(212.0), "one second at 212 W");
    let compute = reading(&card.readings, "hwl_device_engine_utilization_ratio", Some("compute"));
    assert_eq!(compute.outcome, derived(0.75));
    insta::assert_snapshot!(picture(&snapshot));
}

#[test]
fn graphics_within_an_amd_processor_use_both_pools() {
    let snapshot = Tree::unpack("amd-apu").machine().snapshot(START);
    let [asleep, graphics] = &snapshot.devices[..] else { panic!("{:?}", snapshot.devices) };
    assert_eq!(graphics.device.memory_kind, MemoryKind::Unified);
    assert_eq!(of(graphics, "hwl_device_memory_total_bytes"), &derived(14.0 * GIBIBYTE));
    assert_eq!(of(graphics, "hwl_device_power_watts"), &measured(3.103), "the average comes before the moment");
    let clock = &reading(&graphics.readings, "hwl_device_clock_hertz", Some("sclk")).outcome;
    assert_eq!(clock, &Outcome::Error { reason: "`busy` is not a number".to_owned() });
    assert!(matches!(of(graphics, "hwl_device_memory_bandwidth_ratio"), Outcome::Unsupported { .. }));
    assert_eq!(asleep.readings.len(), 1, "a card that sleeps is left asleep");
    assert_eq!(of(asleep, "hwl_device_asleep"), &measured(1.0));
    insta::assert_snapshot!(picture(&snapshot));
}

#[test]
fn an_intel_card_with_i915_has_power_from_its_energy() {
    let tree = Tree::unpack("intel-i915");
    let mut machine = tree.machine();
    let first = machine.snapshot(START);
    assert!(matches!(of(&first.devices[1], "hwl_device_power_watts"), Outcome::Unsupported { .. }));
    tree.write("sys/class/drm/card1/device/hwmon/hwmon1/energy1_input", "25717161804\n");
    tree.write(
        "proc/77/fdinfo/5",
        "drm-driver:\ti915\ndrm-client-id:\t42\ndrm-pdev:\t0000:0b:00.0\ndrm-resident-local0:\t5396000 KiB\n\
         drm-engine-render:\t2500000000 ns\ndrm-engine-copy:\t1000 ns\n",
    );
    let snapshot = machine.snapshot(START + 2 * SECOND);
    let [shared, card] = &snapshot.devices[..] else { panic!("{:?}", snapshot.devices) };
    assert_eq!((shared.device.memory_kind, card.device.memory_kind), (MemoryKind::Unified, MemoryKind::Dedicated));
    let Outcome::Derived { value: watts } = of(card, "hwl_device_power_watts") else { panic!("80 J in 2 s") };
    assert!((watts - 40.0).abs() < 1e-6, "{watts}");
    assert_eq!(of(card, "hwl_device_utilization_ratio"), &derived(0.75));
    assert_eq!(of(card, "hwl_device_memory_used_bytes"), &derived(5_396_000.0 * 1024.0));
    assert!(matches!(of(card, "hwl_device_memory_total_bytes"), Outcome::Unsupported { .. }), "a window is no size");
    let window = reading(&card.readings, "hwl_device_memory_pool_total_bytes", Some("window"));
    assert_eq!(window.outcome, derived(8.0 * GIBIBYTE));
    insta::assert_snapshot!(picture(&snapshot));
}

#[test]
fn an_intel_card_with_xe_counts_cycles() {
    let tree = Tree::unpack("intel-xe");
    let mut machine = tree.machine();
    let _ = machine.snapshot(START);
    let fdinfo = "drm-driver:\txe\ndrm-client-id:\t20\ndrm-pdev:\t0000:0b:00.0\ndrm-resident-vram0:\t8000 MiB\n\
                  drm-cycles-rcs:\t1000\ndrm-total-cycles-rcs:\t2000000\n\
                  drm-cycles-ccs:\t251000\ndrm-total-cycles-ccs:\t2000000\n";
    tree.write("proc/1234/fdinfo/17", fdinfo);
    let snapshot = machine.snapshot(START + SECOND);
    let [card] = &snapshot.devices[..] else { panic!("{:?}", snapshot.devices) };
    assert_eq!(of(card, "hwl_device_memory_total_bytes"), &measured(12.0 * GIBIBYTE));
    assert_eq!(of(card, "hwl_device_utilization_ratio"), &derived(0.25));
    assert_eq!(of(card, "hwl_device_energy_joules_total"), &measured(16_118.114_929));
    insta::assert_snapshot!(picture(&snapshot));
}

#[test]
fn one_file_that_is_gone_takes_nothing_else_with_it() {
    let tree = Tree::unpack("amd-card");
    let before = tree.machine().snapshot(START);
    std::fs::remove_file(tree.root.join("sys/class/drm/card1/device/mem_info_vram_used")).unwrap();
    let after = tree.machine().snapshot(START);
    let (before, after) = (&before.devices[0], &after.devices[0]);
    assert!(matches!(of(after, "hwl_device_memory_used_bytes"), Outcome::Unsupported { .. }));
    let numbers = |device: &hwledger_probe::machine::DeviceSnapshot| {
        device.readings.iter().filter(|reading| reading.outcome.value().is_some()).count()
    };
    // Used, free and the pool's use rest on that file.
    assert_eq!(numbers(before) - numbers(after), 3);
}

#[test]
fn texts_of_firmware_change_no_terminal_and_are_read_again() {
    let tree = Tree::unpack("amd-card");
    tree.write("sys/class/drm/card1/device/product_name", "Card\u{1b}[2J with a bell\u{7}");
    tree.write("sys/class/drm/card1/device/hwmon/hwmon4/temp1_label", &"edge\u{1b}".repeat(1000));
    let snapshot = tree.machine().snapshot(START);
    assert_eq!(snapshot.devices[0].device.name, "Card[2J with a bell");
    let line = serde_json::to_string(&snapshot).unwrap();
    let text = format!("{}\n{line}\n", hwledger_probe::machine::HEADER);
    let lines = Box::new(std::io::Cursor::new(text.into_bytes()));
    let mut replay = hwledger_probe::machine::Replay::new(std::path::Path::new("own"), lines).unwrap();
    assert_eq!(replay.next_snapshot().unwrap(), Some(snapshot), "what this writes it also reads");
}
