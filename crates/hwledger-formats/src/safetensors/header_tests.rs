//! Hostile and valid headers and indexes.

use super::{IndexError, SafetensorsError, TensorTable, merge_shards, read_header, read_index};

fn file(json: &str) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes
}

fn error(json: &str) -> SafetensorsError {
    read_header(&file(json)[..], None).expect_err("the header is not valid")
}

const SMALL: &str = r#"{"__metadata__":{"format":"pt"},
"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]},
"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},
"n":{"dtype":"F16","shape":[0],"data_offsets":[12,12]}}  "#;

#[test]
fn a_header_is_read_in_the_order_of_its_data() {
    let size = 8 + SMALL.len() as u64 + 20;
    let header = read_header(&file(SMALL)[..], Some(size)).unwrap();
    let names: Vec<_> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "n", "b"]);
    assert_eq!((header.format.as_deref(), header.tensor_bytes()), (Some("pt"), 20));
    assert_eq!((&*header.tensors[0].dtype, header.tensors[0].elements()), ("BF16", 6));
    assert!(matches!(read_header(&file(SMALL)[..], Some(size - 1)), Err(SafetensorsError::BeyondFile { .. })));
    assert!(matches!(read_header(&file(SMALL)[..], Some(size + 1)), Err(SafetensorsError::Surplus { .. })));
}

#[test]
fn a_header_cut_anywhere_is_an_error() {
    let bytes = file(SMALL);
    for length in 0..bytes.len() {
        assert!(matches!(read_header(&bytes[..length], None), Err(SafetensorsError::Truncated)), "cut at {length}");
        assert!(read_header(&bytes[..length], Some(length as u64)).is_err(), "cut at {length} with the size known");
    }
}

#[test]
fn flipping_any_byte_never_panics() {
    let bytes = file(SMALL);
    for at in 0..bytes.len() {
        for value in [0, b'"', b'9', b'}', 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            drop(read_header(&damaged[..], Some(bytes.len() as u64 + 20)));
        }
    }
}

#[test]
fn every_element_type_has_its_size() {
    for (name, bits) in [
        ("BOOL", 8),
        ("U8", 8),
        ("I8", 8),
        ("F8_E4M3", 8),
        ("F8_E5M2", 8),
        ("F8_E8M0", 8),
        ("F4", 4),
        ("F6_E2M3", 6),
        ("F6_E3M2", 6),
        ("I16", 16),
        ("U16", 16),
        ("F16", 16),
        ("BF16", 16),
        ("I32", 32),
        ("U32", 32),
        ("F32", 32),
        ("I64", 64),
        ("U64", 64),
        ("F64", 64),
        ("C64", 64),
    ] {
        let bytes = bits * 8 / 8;
        let json = format!(r#"{{"a":{{"dtype":"{name}","shape":[2,4],"data_offsets":[0,{bytes}]}}}}"#);
        let header = read_header(&file(&json)[..], None).unwrap();
        assert_eq!(header.tensors[0].bytes, bytes, "{name}");
        assert_eq!(header.tensors[0].element_type.row_bytes(8), bytes, "{name}");
    }
    assert!(matches!(
        error(r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#),
        SafetensorsError::Shape(name) if name == "a"
    ));
    assert!(matches!(
        error(r#"{"a":{"dtype":"Q4","shape":[3],"data_offsets":[0,2]}}"#),
        SafetensorsError::ElementType { .. }
    ));
}

#[test]
fn hostile_headers_are_refused() {
    let length = |length: u64| read_header(&length.to_le_bytes()[..], None).unwrap_err();
    assert!(matches!(length(u64::MAX), SafetensorsError::HeaderLength { .. }));
    assert!(matches!(length(100_000_000), SafetensorsError::Truncated));
    assert!(matches!(
        read_header(&9_u64.to_le_bytes()[..], Some(16)),
        Err(SafetensorsError::HeaderLength { found: 9, limit: 8 })
    ));
    let two = |first: &str, second: &str| {
        error(&format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{first}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{second}}}}}"#
        ))
    };
    assert!(matches!(two("[0,4]", "[2,6]"), SafetensorsError::Overlap { .. }));
    assert!(matches!(two("[0,4]", "[8,12]"), SafetensorsError::Gap { from: 4, to: 8 }));
    assert!(matches!(two("[4,0]", "[4,8]"), SafetensorsError::Backwards { .. }));
    assert!(matches!(two("[0,4]", "[4,9]"), SafetensorsError::Size { expected: 4, found: 5, .. }));
    let twice =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    assert!(matches!(error(twice), SafetensorsError::DuplicateTensor(_)));
    let huge = r#"{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]}}"#;
    assert!(matches!(error(huge), SafetensorsError::Shape(_)));
    for json in ["", "[]", "{", r#"{"a":1}"#, r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#] {
        assert!(matches!(error(json), SafetensorsError::Json(_)), "{json}");
    }
    let deep = format!(r#"{{"a":{{"dtype":"U8","x":{}"#, "[".repeat(100_000));
    assert!(matches!(error(&deep), SafetensorsError::Json(_)));
}

#[test]
fn shards_are_put_together() {
    let index = read_index(
        br#"{"metadata":{"total_size":20.0},"weight_map":{"a":"1.safetensors","b":"2.safetensors","n":"2.safetensors"}}"#,
    )
    .unwrap();
    assert_eq!((index.total_bytes, index.shards.len()), (Some(20), 2));
    let one = || read_header(&file(r#"{"a":{"dtype":"BF16","shape":[6],"data_offsets":[0,12]}}"#)[..], None).unwrap();
    let two = || {
        let json = r#"{"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"n":{"dtype":"F32","shape":[0],"data_offsets":[8,8]},
            "x":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}}"#;
        read_header(&file(json)[..], None).unwrap()
    };
    let shards = || vec![("2.safetensors".to_owned(), two()), ("1.safetensors".to_owned(), one())];
    let (table, notes): (TensorTable, _) = merge_shards(&index, shards()).unwrap();
    assert_eq!((table.tensors.len(), table.bytes()), (3, 20));
    assert_eq!(notes.len(), 1, "the tensor that the index does not list is reported: {notes:?}");

    let missing = merge_shards(&index, shards().split_off(1)).unwrap_err();
    assert_eq!(missing.to_string(), "the shards 2.safetensors are missing");
    let wrong = vec![("2.safetensors".to_owned(), one()), ("1.safetensors".to_owned(), one())];
    assert!(matches!(merge_shards(&index, wrong), Err(IndexError::MissingTensor { tensor, .. }) if tensor == "b"));
}

#[test]
fn hostile_indexes_are_refused() {
    let of = |json: &str| read_index(json.as_bytes()).unwrap_err();
    for name in ["../x", "/etc/x", "a/../b", "", "C:x", "a\\\\b"] {
        let json = format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#);
        assert!(matches!(of(&json), IndexError::FileName(_)), "{name}");
    }
    assert!(matches!(of(r#"{"weight_map":{}}"#), IndexError::Empty));
    assert!(matches!(of(r#"{"weight_map":{"a":"x","a":"y"}}"#), IndexError::DuplicateTensor(_)));
    assert!(matches!(of(r#"{"weight_map":{"a":3}}"#), IndexError::Json(_)));
    assert!(matches!(of("{}"), IndexError::Json(_)));
}
