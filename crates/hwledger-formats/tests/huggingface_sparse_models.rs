//! Table of golden models with experts, latent attention or recurrent state: hyper-parameters under
//! `testdata/models`, figures of the reference modules here; and configurations that contradict themselves.

use std::path::Path;

use hwledger_core::ModelSpec;
use hwledger_core::model::{Certainty, FeedForward};
use hwledger_formats::huggingface::read_config;
use serde_json::{Value, json};

/// What the reference modules hold.
struct Expected {
    model: &'static str,
    total: u64,
    active: u64,
    towers: u64,
    /// Layers with experts.
    sparse_layers: usize,
    /// Cached elements of 4,096 tokens with index keys; not given for compressed caches and for state alone.
    cache: Option<u64>,
    /// Elements that convolutions (and token shifts) and recurrences remember.
    state: (u64, u64),
    /// Parameters of the first layers with the number of layers in a row that have them.
    layers: &'static [(u64, usize)],
}

const EXPECTED: &[Expected] = &[
    Expected {
        model: "mixtral-8x22b-v0.1",
        total: 140_620_634_112,
        active: 38_955_423_744,
        towers: 0,
        sparse_layers: 56,
        cache: Some(469_762_048),
        state: (0, 0),
        layers: &[(2_504_060_928, 56)],
    },
    Expected {
        model: "phi-mini-moe-instruct",
        total: 7_647_632_704,
        active: 2_231_475_520,
        towers: 0,
        sparse_layers: 32,
        cache: Some(134_152_192),
        state: (0, 0),
        layers: &[(230_778_880, 32)],
    },
    Expected {
        model: "olmoe-1b-7b-0924",
        total: 6_919_161_856,
        active: 1_178_994_688,
        towers: 0,
        sparse_layers: 16,
        cache: Some(268_435_456),
        state: (0, 0),
        layers: &[(419_569_664, 16)],
    },
    Expected {
        model: "granite-3.1-3b-a800m-instruct",
        total: 3_298_793_472,
        active: 882_874_368,
        towers: 0,
        sparse_layers: 32,
        cache: Some(134_217_728),
        state: (0, 0),
        layers: &[(100_727_808, 32)],
    },
    Expected {
        model: "minimax-m2",
        total: 228_689_748_992,
        active: 10_415_940_608,
        towers: 0,
        sparse_layers: 62,
        cache: Some(520_093_696),
        state: (0, 0),
        layers: &[(3_668_718_592, 62)],
    },
    Expected {
        model: "gpt-oss-120b",
        total: 116_829_156_672,
        active: 5_132_849_472,
        towers: 0,
        sparse_layers: 36,
        cache: Some(77_856_768),
        state: (0, 0),
        layers: &[(3_213_080_192, 36)],
    },
    Expected {
        model: "llama-4-maverick-17b-128e-instruct",
        total: 401_167_027_200,
        active: 16_150_205_440,
        towers: 455_178_240,
        sparse_layers: 24,
        cache: Some(402_653_184),
        state: (0, 0),
        layers: &[
            (314_583_040, 1),
            (16_295_536_640, 1),
            (314_583_040, 1),
            (16_295_536_640, 1),
            (314_583_040, 1),
            (16_295_536_640, 1),
            (314_583_040, 1),
            (16_295_536_640, 1),
        ],
    },
    Expected {
        model: "glm-4.5-air",
        total: 106_852_245_504,
        active: 12_803_366_912,
        towers: 0,
        sparse_layers: 45,
        cache: Some(385_875_968),
        state: (0, 0),
        layers: &[(243_554_304, 1), (2_341_492_736, 45)],
    },
    Expected {
        model: "ernie-4.5-300b-a47b-pt",
        total: 299_484_163_264,
        active: 47_079_337_152,
        towers: 0,
        sparse_layers: 51,
        cache: Some(452_984_832),
        state: (0, 0),
        layers: &[(855_654_400, 3), (5_788_680_256, 51)],
    },
    Expected {
        model: "ling-1t",
        total: 999_705_309_184,
        active: 49_766_756_352,
        towers: 0,
        sparse_layers: 76,
        cache: Some(671_088_640),
        state: (0, 0),
        layers: &[(603_996_416, 4), (13_088_342_272, 76)],
    },
    Expected {
        model: "hunyuan-a13b-instruct",
        total: 80_393_183_232,
        active: 12_747_448_320,
        towers: 0,
        sparse_layers: 32,
        cache: Some(268_435_456),
        state: (0, 0),
        layers: &[(2_495_881_472, 32)],
    },
    Expected {
        model: "qwen1.5-moe-a2.7b-chat",
        total: 14_315_784_192,
        active: 2_378_008_576,
        towers: 0,
        sparse_layers: 24,
        cache: Some(402_653_184),
        state: (0, 0),
        layers: &[(570_560_512, 24)],
    },
    Expected {
        model: "qwen3-30b-a3b",
        total: 30_532_122_624,
        active: 3_041_867_776,
        towers: 0,
        sparse_layers: 48,
        cache: Some(201_326_592),
        state: (0, 0),
        layers: &[(623_120_640, 48)],
    },
    Expected {
        model: "mimo-v2-flash",
        total: 308_778_768_832,
        active: 14_820_972_992,
        towers: 0,
        sparse_layers: 47,
        cache: Some(60_065_280),
        state: (0, 0),
        layers: &[
            (290_463_744, 1),
            (6_537_879_616, 4),
            (6_532_636_672, 1),
            (6_537_879_616, 5),
            (6_532_636_672, 1),
            (6_537_879_616, 5),
            (6_532_636_672, 1),
            (6_537_879_616, 5),
        ],
    },
    Expected {
        model: "deepseek-v2-lite",
        total: 15_706_484_224,
        active: 2_451_435_008,
        towers: 0,
        sparse_layers: 26,
        cache: Some(63_700_992),
        state: (0, 0),
        layers: &[(81_007_104, 1), (584_847_872, 26)],
    },
    Expected {
        model: "deepseek-v3.2",
        total: 671_877_929_216,
        active: 37_477_128_448,
        towers: 0,
        sparse_layers: 58,
        cache: Some(175_898_624),
        state: (0, 0),
        layers: &[(597_442_816, 3), (11_521_245_440, 58)],
    },
    Expected {
        model: "deepseek-v4-pro",
        total: 1_572_997_179_491,
        active: 48_852_379_747,
        towers: 0,
        sparse_layers: 61,
        cache: None,
        state: (0, 0),
        layers: &[
            (25_744_655_030, 2),
            (25_768_646_454, 1),
            (25_744_655_030, 1),
            (25_768_646_454, 1),
            (25_744_655_030, 1),
            (25_768_646_454, 1),
            (25_744_655_030, 1),
            (25_768_646_454, 1),
        ],
    },
    Expected {
        model: "glm-4.7-flash",
        total: 29_943_390_976,
        active: 3_579_568_896,
        towers: 0,
        sparse_layers: 46,
        cache: Some(110_886_912),
        state: (0, 0),
        layers: &[(84_677_888, 1), (635_311_360, 46)],
    },
    Expected {
        model: "glm-5.2",
        total: 743_377_000_704,
        active: 40_298_928_384,
        towers: 0,
        sparse_layers: 75,
        cache: Some(195_035_136),
        state: (0, 0),
        layers: &[
            (400_898_816, 3),
            (9_868_032_512, 3),
            (9_877_404_416, 1),
            (9_868_032_512, 3),
            (9_877_404_416, 1),
            (9_868_032_512, 3),
            (9_877_404_416, 1),
            (9_868_032_512, 3),
        ],
    },
    Expected {
        model: "kimi-k2.5",
        total: 1_026_879_353_328,
        active: 31_687_072_768,
        towers: 471_143_920,
        sparse_layers: 60,
        cache: Some(143_917_056),
        state: (0, 0),
        layers: &[(497_500_160, 1), (17_059_364_864, 60)],
    },
    Expected {
        model: "kimi-linear-48b-a3b-instruct",
        total: 49_122_675_072,
        active: 3_106_965_888,
        towers: 0,
        sparse_layers: 26,
        cache: Some(16_515_072),
        state: (737_280, 10_485_760),
        layers: &[
            (103_219_872, 1),
            (1_859_125_920, 2),
            (1_848_726_528, 1),
            (1_859_125_920, 3),
            (1_848_726_528, 1),
            (1_859_125_920, 3),
            (1_848_726_528, 1),
            (1_859_125_920, 3),
        ],
    },
    Expected {
        model: "minimax-text-01-hf",
        total: 456_089_655_296,
        active: 47_174_113_280,
        towers: 0,
        sparse_layers: 80,
        cache: Some(83_886_080),
        state: (0, 73_400_320),
        layers: &[
            (5_687_693_312, 7),
            (5_549_273_088, 1),
            (5_687_693_312, 7),
            (5_549_273_088, 1),
            (5_687_693_312, 7),
            (5_549_273_088, 1),
            (5_687_693_312, 7),
            (5_549_273_088, 1),
        ],
    },
    Expected {
        model: "qwen3.5-9b",
        total: 9_409_813_744,
        active: 7_936_684_544,
        towers: 456_010_480,
        sparse_layers: 0,
        cache: Some(67_108_864),
        state: (589_824, 12_582_912),
        layers: &[
            (218_407_104, 3),
            (209_723_904, 1),
            (218_407_104, 3),
            (209_723_904, 1),
            (218_407_104, 3),
            (209_723_904, 1),
            (218_407_104, 3),
            (209_723_904, 1),
        ],
    },
    Expected {
        model: "qwen3.5-122b-a10b",
        total: 122_562_817_776,
        active: 9_008_449_536,
        towers: 451_290_864,
        sparse_layers: 48,
        cache: Some(50_331_648),
        state: (1_327_104, 37_748_736),
        layers: &[
            (2_514_674_944, 3),
            (2_504_795_648, 1),
            (2_514_674_944, 3),
            (2_504_795_648, 1),
            (2_514_674_944, 3),
            (2_504_795_648, 1),
            (2_514_674_944, 3),
            (2_504_795_648, 1),
        ],
    },
    Expected {
        model: "lfm2-350m",
        total: 354_483_968,
        active: 354_483_968,
        towers: 0,
        sparse_layers: 0,
        cache: Some(25_165_824),
        state: (20_480, 0),
        layers: &[
            (18_355_200, 2),
            (17_303_680, 1),
            (18_355_200, 2),
            (17_303_680, 1),
            (18_355_200, 2),
            (17_303_680, 1),
            (18_355_200, 1),
            (17_303_680, 1),
        ],
    },
    Expected {
        model: "lfm2-8b-a1b",
        total: 8_339_929_856,
        active: 1_557_740_288,
        towers: 0,
        sparse_layers: 22,
        cache: Some(25_165_824),
        state: (73_728, 0),
        layers: &[
            (60_827_648, 2),
            (362_877_056, 1),
            (369_174_528, 3),
            (362_877_056, 1),
            (369_174_528, 3),
            (362_877_056, 1),
            (369_174_528, 3),
            (362_877_056, 1),
        ],
    },
    Expected {
        model: "mamba-130m-hf",
        total: 129_135_360,
        active: 129_135_360,
        towers: 0,
        sparse_layers: 0,
        cache: Some(0),
        state: (110_592, 589_824),
        layers: &[(3_771_648, 24)],
    },
    Expected {
        model: "falcon-mamba-7b",
        total: 7_272_665_088,
        active: 7_006_326_784,
        towers: 0,
        sparse_layers: 0,
        cache: Some(0),
        state: (1_572_864, 8_388_608),
        layers: &[(105_312_256, 64)],
    },
    Expected {
        model: "mamba-codestral-7b-v0.1",
        total: 7_285_403_648,
        active: 7_151_185_920,
        towers: 0,
        sparse_layers: 0,
        cache: Some(0),
        state: (1_966_080, 67_108_864),
        layers: &[(109_640_064, 64)],
    },
    Expected {
        model: "ai21-jamba-1.5-large",
        total: 398_555_145_696,
        active: 93_612_467_680,
        towers: 0,
        sparse_layers: 36,
        cache: Some(75_497_472),
        state: (3_096_576, 16_515_072),
        layers: &[
            (1_024_328_224, 1),
            (10_084_155_936, 1),
            (1_024_328_224, 1),
            (10_084_155_936, 1),
            (754_991_104, 1),
            (10_084_155_936, 1),
            (1_024_328_224, 1),
            (10_084_155_936, 1),
        ],
    },
    Expected {
        model: "bamba-9b",
        total: 9_780_235_392,
        active: 9_254_898_816,
        towers: 0,
        sparse_layers: 0,
        cache: Some(25_165_824),
        state: (734_976, 30_408_704),
        layers: &[
            (278_455_936, 9),
            (218_112_000, 1),
            (278_455_936, 8),
            (218_112_000, 1),
            (278_455_936, 8),
            (218_112_000, 1),
            (278_455_936, 4),
        ],
    },
    Expected {
        model: "falcon-h1-7b-instruct",
        total: 7_585_519_712,
        active: 7_186_009_184,
        towers: 0,
        sparse_layers: 0,
        cache: Some(92_274_688),
        state: (473_088, 34_603_008),
        layers: &[(154_238_536, 44)],
    },
    Expected {
        model: "granite-4.0-h-tiny",
        total: 6_939_037_248,
        active: 1_465_470_528,
        towers: 0,
        sparse_layers: 40,
        cache: Some(16_777_216),
        state: (359_424, 14_155_776),
        layers: &[
            (170_457_488, 5),
            (162_106_368, 1),
            (170_457_488, 9),
            (162_106_368, 1),
            (170_457_488, 9),
            (162_106_368, 1),
            (170_457_488, 9),
            (162_106_368, 1),
        ],
    },
    Expected {
        model: "nvidia-nemotron-3-nano-30b-a3b-bf16",
        total: 31_577_937_344,
        active: 3_227_751_872,
        towers: 0,
        sparse_layers: 23,
        cache: Some(12_582_912),
        state: (423_936, 12_058_624),
        layers: &[
            (38_744_896, 1),
            (1_297_468_032, 1),
            (38_744_896, 1),
            (1_297_468_032, 1),
            (38_744_896, 1),
            (23_399_040, 1),
            (1_297_468_032, 1),
            (38_744_896, 1),
        ],
    },
    Expected {
        model: "nvidia-nemotron-3-ultra-550b-a55b-bf16",
        total: 549_308_968_960,
        active: 54_985_076_736,
        towers: 0,
        sparse_layers: 48,
        cache: Some(25_165_824),
        state: (2_654_208, 100_663_296),
        layers: &[
            (421_645_056, 1),
            (10_942_947_328, 1),
            (421_645_056, 1),
            (10_942_947_328, 1),
            (421_645_056, 1),
            (10_942_947_328, 1),
            (421_645_056, 1),
            (138_420_224, 1),
        ],
    },
    Expected {
        model: "zamba-7b-v1",
        total: 7_232_490_496,
        active: 7_232_490_496,
        towers: 0,
        sparse_layers: 0,
        cache: Some(790_626_304),
        state: (1_692_672, 9_027_584),
        layers: &[
            (86_530_432, 2),
            (458_573_056, 1),
            (86_530_432, 4),
            (100_309_376, 1),
            (86_530_432, 5),
            (100_309_376, 1),
            (86_530_432, 5),
            (100_309_376, 1),
        ],
    },
    Expected {
        model: "zamba2-2.7b",
        total: 2_662_214_560,
        active: 2_662_214_560,
        towers: 0,
        sparse_layers: 0,
        cache: Some(377_487_360),
        state: (850_176, 17_694_720),
        layers: &[
            (39_888_240, 6),
            (231_588_720, 1),
            (39_888_240, 5),
            (228_639_600, 1),
            (39_888_240, 5),
            (46_441_840, 1),
            (39_888_240, 5),
            (46_441_840, 1),
        ],
    },
    Expected {
        model: "rwkv-4-7b-pile",
        total: 7_392_649_216,
        active: 7_186_714_624,
        towers: 0,
        sparse_layers: 0,
        cache: None,
        state: (262_144, 393_216),
        layers: &[(218_157_056, 1), (218_148_864, 31)],
    },
];

fn read(model: &str) -> ModelSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models").join(model).join("config.json");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    read_config(&bytes).unwrap_or_else(|error| panic!("{model}: {error}")).0
}

/// Parameters of each layer, run by run.
fn runs(spec: &ModelSpec) -> Vec<(u64, usize)> {
    let mut runs: Vec<(u64, usize)> = Vec::new();
    for parameters in spec.decoder.layers().map(hwledger_core::model::Layer::parameters) {
        match runs.last_mut() {
            Some((last, count)) if *last == parameters => *count += 1,
            _ => runs.push((parameters, 1)),
        }
    }
    runs
}

#[test]
fn parameters_equal_the_reference() {
    for expected in EXPECTED {
        let spec = read(expected.model);
        let name = expected.model;
        let count = spec.parameters();
        assert_eq!(spec.certainty, Certainty::Known, "{name}");
        assert_eq!(count.total, expected.total, "{name}: total");
        assert_eq!(count.active_per_token, expected.active, "{name}: active");
        assert_eq!(count.vision, expected.towers, "{name}: towers");
        let sparse =
            spec.decoder.layers().filter(|layer| matches!(layer.feed_forward, FeedForward::Experts(_))).count();
        assert_eq!(sparse, expected.sparse_layers, "{name}: layers with experts");
        let runs = runs(&spec);
        assert_eq!(&runs[..expected.layers.len().min(runs.len())], expected.layers, "{name}: layers");
    }
}

#[test]
fn caches_and_states_equal_the_reference() {
    for expected in EXPECTED {
        let spec = read(expected.model);
        let (mut cache, mut kept, mut state) = (0, 0, 0);
        for layer in spec.decoder.layers() {
            if let Some(attention) = layer.mixer.attention() {
                cache += attention.cached_elements_per_token() * attention.span.tokens_kept(4096);
                cache += attention.indexer.filter(|index| index.is_owner).map_or(0, |index| index.head_dim * 4096);
            }
            if let Some(recurrent) = layer.mixer.recurrent() {
                kept += recurrent.convolution_elements() + recurrent.shift_elements;
                state += recurrent.state_elements;
            }
        }
        if let Some(wanted) = expected.cache {
            assert_eq!(cache, wanted, "{}: cache", expected.model);
        }
        assert_eq!((kept, state), expected.state, "{}: state", expected.model);
    }
}

#[test]
fn every_golden_folder_says_where_it_is_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models");
    for expected in EXPECTED {
        let text = std::fs::read_to_string(root.join(expected.model).join("PROVENANCE.toml")).unwrap();
        for key in ["model = ", "source = ", "content = ", "expected = "] {
            assert!(text.contains(key), "{}: PROVENANCE.toml has no {key}", expected.model);
        }
    }
}

/// The error of a golden model with some keys changed.
fn error_with(model: &str, changes: &[(&str, Value)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models").join(model).join("config.json");
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(path).expect("a golden model")).expect("golden models are JSON");
    for (key, value) in changes {
        config[*key] = value.clone();
    }
    read_config(config.to_string().as_bytes()).expect_err(model).to_string()
}

#[test]
fn contradictions_name_their_key() {
    type Case<'a> = (&'a str, &'a [(&'a str, Value)], &'a str);
    let cases: &[Case<'_>] = &[
        ("mixtral-8x22b-v0.1", &[("num_local_experts", json!(0))], "`num_local_experts` is zero"),
        ("deepseek-v2-lite", &[("n_routed_experts", json!(0))], "`n_routed_experts` is zero"),
        (
            "deepseek-v2-lite",
            &[("num_experts_per_tok", json!(65))],
            "`num_experts_per_tok` is 65, more than the 64 experts there are",
        ),
        (
            "deepseek-v2-lite",
            &[("kv_lora_rank", json!("wide"))],
            "`kv_lora_rank` should be a whole number, but is `\"wide\"`",
        ),
        (
            "nvidia-nemotron-3-nano-30b-a3b-bf16",
            &[("hybrid_override_pattern", json!("MEX*"))],
            "`hybrid_override_pattern` has a layer of unknown kind `X`",
        ),
        (
            "mimo-v2-flash",
            &[("hybrid_layer_pattern", json!([0, 1]))],
            "`hybrid_layer_pattern` has 2 entries for 48 layers",
        ),
        ("mimo-v2-flash", &[("moe_layer_freq", json!([0]))], "`moe_layer_freq` has 1 entries for 48 layers"),
        ("lfm2-8b-a1b", &[("layer_types", json!(["conv"]))], "`layer_types` names 1 layers of 24"),
        (
            "glm-5.2",
            &[("num_hidden_layers", json!(1)), ("indexer_types", json!(["lost"])), ("mlp_layer_types", Value::Null)],
            "`indexer_types` has a layer of unknown kind `lost`",
        ),
        (
            "bamba-9b",
            &[("mamba_n_heads", json!(127))],
            "`mamba_n_heads` is 127, which with heads of 64 does not make the inner width 8192",
        ),
        ("zamba2-2.7b", &[("num_mem_blocks", json!(0))], "`num_mem_blocks` is zero"),
        ("ai21-jamba-1.5-large", &[("attn_layer_period", json!(0))], "`attn_layer_period` is zero"),
        ("deepseek-v4-pro", &[("o_groups", json!(0))], "`o_groups` is zero"),
        ("deepseek-v4-pro", &[("compress_ratios", json!([4]))], "`compress_ratios` has 1 entries for 61 layers"),
    ];
    for (model, changes, wanted) in cases {
        assert_eq!(&error_with(model, changes), wanted, "{model}");
    }
}

#[test]
fn prediction_layers_are_read_but_not_counted() {
    let spec = read("deepseek-v3.2");
    assert_eq!(spec.draft_layers.len(), 1);
    // The layer itself, the projection of 2 x 7168 to 7168, three norms.
    let last = spec.decoder.layers().next_back().unwrap().parameters();
    assert_eq!(spec.draft_layers[0].parameters(), last + 2 * 7168 * 7168 + 3 * 7168);
}
