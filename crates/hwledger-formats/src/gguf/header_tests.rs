//! Hostile and valid headers.

use super::test_writer::{Writer, llama};
use super::{GgufErrorKind, Header, Place, Value, read_header};

fn read(writer: &Writer) -> Result<Header, super::GgufError> {
    read_header(&writer.bytes()[..], None)
}

fn kind(writer: &Writer) -> GgufErrorKind {
    read(writer).expect_err("the header is not valid").kind
}

#[test]
fn a_header_is_read() {
    let header = read(&llama(2)).unwrap();
    assert_eq!((header.version, header.alignment), (3, 32));
    assert_eq!(header.architecture(), Some("llama"));
    assert_eq!(header.metadata.unsigned("llama.block_count"), Some(2));
    assert_eq!(header.metadata.get("tokenizer.ggml.tokens"), Some(&Value::Skipped { length: 3 }));
    assert_eq!(header.tensors.len(), 2 + 2 * 9);
    assert_eq!(header.data_offset % 32, 0);
    assert_eq!(header.tensor("blk.1.attn_v.weight").unwrap().bytes(), 512 * 128 * 2);
    assert_eq!(header.padded_data_bytes(), llama(2).data_bytes());
}

#[test]
fn version_2_reads_the_same() {
    let mut old = llama(1);
    old.version = 2;
    let old = read(&old).unwrap();
    assert_eq!(old.version, 2);
    assert_eq!(old.tensors, read(&llama(1)).unwrap().tensors);
}

#[test]
fn a_header_cut_anywhere_is_an_error() {
    let bytes = llama(1).bytes();
    for length in 0..bytes.len() {
        let error = read_header(&bytes[..length], None).expect_err("the header is cut");
        assert!(matches!(error.kind, GgufErrorKind::Truncated), "cut at {length}: {error}");
        assert!(error.offset <= length as u64);
        assert!(read_header(&bytes[..length], Some(length as u64)).is_err(), "cut at {length} with the size known");
    }
}

#[test]
fn flipping_any_byte_never_panics() {
    let bytes = llama(1).bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let size = Some(bytes.len() as u64 + llama(1).data_bytes());
            if let Ok(header) = read_header(&damaged[..], size) {
                // Whatever was read can also be described or refused.
                drop(super::model_spec(&header));
            }
        }
    }
}

#[test]
fn one_byte_at_a_time_reads_the_same() {
    struct Dribble<'a>(&'a [u8]);
    impl std::io::Read for Dribble<'_> {
        fn read(&mut self, target: &mut [u8]) -> std::io::Result<usize> {
            let [first, rest @ ..] = self.0 else { return Ok(0) };
            target[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }
    let bytes = llama(2).bytes();
    assert_eq!(read_header(Dribble(&bytes), None).unwrap(), read_header(&bytes[..], None).unwrap());
}

#[test]
fn foreign_files_are_named() {
    let of = |bytes: &[u8]| read_header(bytes, None).unwrap_err().to_string();
    assert!(of(b"tjgg\x03\0\0\0").contains("`ggjt`"));
    assert!(of(b"PK\x03\x04....").contains("no GGUF file"));
    assert!(of(b"GGUF\x01\0\0\0").contains("version 1 is not supported"));
    assert!(of(b"GGUF\0\0\0\x03").contains("big endian"));
    assert!(of(b"GGUF\x09\0\0\0").contains("version 9"));
    assert!(of(b"").contains("ends inside its header"));
}

#[test]
fn counts_are_bounded_by_the_file() {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(u64::MAX.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    assert!(matches!(read_header(&bytes[..], None).unwrap_err().kind, GgufErrorKind::TooMany { .. }));
    bytes[8..16].copy_from_slice(&1000_u64.to_le_bytes());
    let error = read_header(&bytes[..], Some(100)).unwrap_err();
    assert!(matches!(error.kind, GgufErrorKind::TooMany { found: 1000, limit: 3, .. }), "{error}");
}

#[test]
fn absurd_lengths_allocate_nothing() {
    let mut writer = Writer::new("llama");
    writer.entry("text", 8, &u64::MAX.to_le_bytes());
    let error = read(&writer).unwrap_err();
    assert_eq!(error.place, Place::Key("text".to_owned()));
    assert!(matches!(error.kind, GgufErrorKind::TooMany { .. }));

    for inner in [0_u32, 4, 8, 12] {
        let mut writer = Writer::new("llama");
        let mut array = inner.to_le_bytes().to_vec();
        array.extend((u64::MAX / 2).to_le_bytes());
        writer.entry("array", 9, &array);
        assert!(matches!(kind(&writer), GgufErrorKind::TooMany { .. }), "array of type {inner}");
    }
}

#[test]
fn nested_arrays_and_unknown_types_are_refused() {
    let mut writer = Writer::new("llama");
    let mut array = 9_u32.to_le_bytes().to_vec();
    array.extend(1_u64.to_le_bytes());
    array.extend([0; 32]);
    writer.entry("array", 9, &array);
    assert!(matches!(kind(&writer), GgufErrorKind::NestedArray));
    let mut writer = Writer::new("llama");
    writer.entry("strange", 13, &[0; 16]);
    assert!(matches!(kind(&writer), GgufErrorKind::ValueType(13)));
}

#[test]
fn names_and_keys_are_unique() {
    let mut writer = Writer::new("llama");
    writer.text("general.architecture", "gemma");
    assert!(matches!(kind(&writer), GgufErrorKind::DuplicateKey));
    let mut writer = Writer::new("llama");
    writer.tensor("a", 0, &[8]).tensor("a", 0, &[8]);
    assert!(matches!(kind(&writer), GgufErrorKind::DuplicateTensor));
}

#[test]
fn tensor_places_are_checked() {
    let check = |tensors: &[(&str, u32, &[u64], u64)]| {
        let mut writer = Writer::new("llama");
        for (name, kind, dimensions, offset) in tensors {
            writer.raw_tensor(name, *kind, dimensions, *offset);
        }
        kind(&writer)
    };
    assert!(matches!(check(&[("a", 0, &[8], 16)]), GgufErrorKind::Misaligned { found: 16, alignment: 32 }));
    assert!(matches!(check(&[("a", 0, &[16], 0), ("b", 0, &[8], 32)]), GgufErrorKind::Overlap(other) if other == "a"));
    assert!(matches!(check(&[("a", 0, &[0], 0)]), GgufErrorKind::ZeroDimension(0)));
    assert!(matches!(check(&[("a", 12, &[128], 0)]), GgufErrorKind::PartialBlock { columns: 128, .. }));
    assert!(matches!(check(&[("a", 0, &[1 << 40, 1 << 40], 0)]), GgufErrorKind::Overflow));
    assert!(matches!(check(&[("a", 0, &[8], u64::MAX - 31)]), GgufErrorKind::Overflow));
    assert!(matches!(check(&[("a", 0, &[1, 1, 1, 1, 1], 0)]), GgufErrorKind::TooMany { found: 5, .. }));
    assert!(matches!(check(&[("a", 31, &[32], 0)]), GgufErrorKind::TensorType(_)));
}

#[test]
fn data_beyond_the_file_is_an_incomplete_download() {
    let writer = llama(1);
    let header = read(&writer).unwrap();
    let whole = header.data_offset + writer.data_bytes();
    assert!(read_header(&writer.bytes()[..], Some(whole)).is_ok());
    let error = read_header(&writer.bytes()[..], Some(whole - 1)).unwrap_err();
    assert!(matches!(error.kind, GgufErrorKind::BeyondFile { .. }));
    assert!(matches!(&error.place, Place::Tensor(name) if name == "blk.0.ffn_down.weight"), "{error}");
}

#[test]
fn the_alignment_is_a_power_of_two() {
    let mut writer = Writer::new("llama");
    writer.number("general.alignment", 48);
    assert!(matches!(kind(&writer), GgufErrorKind::Alignment(48)));
    let mut writer = Writer::new("llama");
    writer.number("general.alignment", 64).raw_tensor("a", 0, &[8], 64);
    assert_eq!(read(&writer).unwrap().data_offset % 64, 0);
}
