use super::test_writer::Writer;
use super::*;

fn array(kind: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
    let mut value = kind.to_le_bytes().to_vec();
    value.extend(count.to_le_bytes());
    value.extend(bytes);
    value
}

fn whole() -> Writer {
    let mut writer = Writer::new("llama");
    let scores: Vec<u8> = [0.0_f32, -1.5, -2.0].iter().flat_map(|score| score.to_le_bytes()).collect();
    writer
        .text("tokenizer.ggml.model", "llama")
        .text("tokenizer.ggml.pre", "default")
        .texts("tokenizer.ggml.tokens", &["<unk>", "<s>", "▁a"])
        .entry("tokenizer.ggml.scores", 9, &array(6, 3, &scores))
        .numbers("tokenizer.ggml.token_type", &[2, 3, 1])
        .texts("tokenizer.ggml.merges", &["▁ a"])
        .entry("tokenizer.ggml.precompiled_charsmap", 9, &array(0, 2, &[7, 255]))
        .number("tokenizer.ggml.bos_token_id", 1)
        .number("tokenizer.ggml.unknown_token_id", 0)
        .number("tokenizer.ggml.padding_token_id", u32::MAX)
        .entry("tokenizer.ggml.add_bos_token", 7, &[1])
        .entry("tokenizer.ggml.add_space_prefix", 7, &[0])
        .text("tokenizer.chat_template", "{{ messages }}")
        .text("tokenizer.chat_template.tool_use", "{{ tools }}")
        .texts("tokenizer.chat_templates", &["tool_use"])
        .tensor("token_embd.weight", 0, &[4, 3]);
    writer
}

fn failure(writer: &Writer) -> String {
    let bytes = writer.bytes();
    read_vocabulary(&bytes[..], Some(bytes.len() as u64)).unwrap_err().to_string()
}

#[test]
fn everything_is_kept() {
    let bytes = whole().bytes();
    let found = read_vocabulary(&bytes[..], Some(bytes.len() as u64)).unwrap();
    assert_eq!((found.model.as_str(), found.pre.as_deref()), ("llama", Some("default")));
    assert_eq!(found.tokens, ["<unk>", "<s>", "▁a"]);
    assert_eq!(found.scores, [0.0, -1.5, -2.0]);
    assert_eq!(found.token_kinds, [TokenKind::Unknown, TokenKind::Control, TokenKind::Normal]);
    assert_eq!(found.merges, ["▁ a"]);
    assert_eq!(found.precompiled_charsmap, [7, 255]);
    assert_eq!(found.special, SpecialTokens { bos: Some(1), unk: Some(0), ..SpecialTokens::default() });
    assert_eq!((found.add_bos, found.add_eos, found.add_space_prefix), (Some(true), None, Some(false)));
    assert_eq!(found.chat_template.as_deref(), Some("{{ messages }}"));
    assert_eq!(found.named_templates["tool_use"], "{{ tools }}");
    assert_eq!(read_vocabulary(&bytes[..], None).unwrap(), found);
}

#[test]
fn every_truncation_is_one_error() {
    let whole = whole();
    let bytes = whole.bytes();
    let mut without_tensors = whole.bytes().len();
    // The tensor table is not read, so what is cut there is not missed.
    while read_vocabulary(&bytes[..without_tensors - 1], None).is_ok() {
        without_tensors -= 1;
    }
    for length in 0..without_tensors {
        let error = read_vocabulary(&bytes[..length], None).unwrap_err();
        assert!(matches!(error.kind, GgufErrorKind::Truncated), "{length}: {error}");
        assert!(read_vocabulary(&bytes[..length], Some(length as u64)).is_err(), "{length}");
    }
}

#[test]
fn no_flipped_byte_makes_trouble() {
    let bytes = whole().bytes();
    for position in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut hostile = bytes.clone();
            hostile[position] ^= flip;
            if let Ok(found) = read_vocabulary(&hostile[..], Some(bytes.len() as u64)) {
                assert!(found.scores.is_empty() || found.scores.len() == found.tokens.len());
            }
        }
    }
}

#[test]
fn sizes_are_not_believed() {
    let mut writer = Writer::new("llama");
    writer.text("tokenizer.ggml.model", "gpt2").entry("tokenizer.ggml.tokens", 9, &array(8, u64::MAX, &[]));
    assert!(failure(&writer).contains("the number of tokens is 18446744073709551615"), "{}", failure(&writer));

    let mut writer = Writer::new("llama");
    let long = "a".repeat((64 << 10) + 1);
    writer.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", &[&long]);
    let message = failure(&writer);
    assert!(
        message.contains("the length of a token is 65537") && message.contains("tokenizer.ggml.tokens"),
        "{message}"
    );

    let mut writer = Writer::new("llama");
    writer.entry("tokenizer.ggml.scores", 9, &array(6, 1 << 21, &vec![0; 4 << 21]));
    assert!(failure(&writer).contains("more than 1048576"), "{}", failure(&writer));
}

#[test]
fn what_is_wrong_is_named() {
    let check = |write: &dyn Fn(&mut Writer), expected: &str| {
        let mut writer = whole();
        write(&mut writer);
        let message = failure(&writer);
        assert!(message.contains(expected), "{message}");
    };
    check(
        &|writer| _ = writer.number("tokenizer.ggml.eos_token_id", 3),
        "there is no token 3 among 3 (in key `tokenizer.ggml.eos_token_id`",
    );
    check(&|writer| _ = writer.text("tokenizer.ggml.eos_token_id", "x"), "the value is no token number");
    check(&|writer| _ = writer.number("tokenizer.ggml.add_eos_token", 1), "the value is no truth value");
    check(&|writer| _ = writer.text("tokenizer.ggml.model", "llama"), "occurs twice");
    let mut writer = Writer::new("llama");
    writer.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", &["a"]);
    writer.numbers("tokenizer.ggml.token_type", &[1, 1]);
    assert!(failure(&writer).contains("the list has 2 elements for 1 tokens"), "{}", failure(&writer));
    assert!(failure(&Writer::new("llama")).contains("describes no tokenizer"));
}
