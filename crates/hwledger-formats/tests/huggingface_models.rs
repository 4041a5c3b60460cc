//! Table of golden models: hyper-parameters under `testdata/models`, figures of the reference modules here.
//!
//! Each folder's `PROVENANCE.toml` says where the hyper-parameters come from; the figures are parameters of the
//! reference's modules built on the meta device, and cached elements of one sequence of 4,096 tokens.

use std::path::Path;

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, Certainty};
use hwledger_formats::huggingface::read_config;

/// What the reference modules hold.
struct Expected {
    model: &'static str,
    total: u64,
    active: u64,
    towers: u64,
    /// Cached elements at 4,096 tokens, windows capped; not given for encoders and shorter contexts.
    cache: Option<u64>,
    /// Parameters of the first layers with the number of layers in a row that have them.
    layers: &'static [(u64, usize)],
}

const EXPECTED: &[Expected] = &[
    Expected {
        model: "yi-34b",
        total: 34_388_917_248,
        active: 33_930_165_248,
        towers: 0,
        cache: Some(503_316_480),
        layers: &[(557_856_768, 60)],
    },
    Expected {
        model: "apertus-8b-instruct-2509",
        total: 8_053_338_176,
        active: 7_516_467_264,
        towers: 0,
        cache: Some(268_435_456),
        layers: &[(218_112_258, 32)],
    },
    Expected {
        model: "afm-4.5b",
        total: 4_619_184_640,
        active: 4_291_494_400,
        towers: 0,
        cache: Some(150_994_944),
        layers: &[(110_105_600, 36)],
    },
    Expected {
        model: "bge-small-en-v1.5",
        total: 33_360_000,
        active: 21_639_552,
        towers: 0,
        cache: None,
        layers: &[(1_774_464, 12)],
    },
    Expected {
        model: "bert-base-uncased",
        total: 109_514_298,
        active: 109_514_298,
        towers: 0,
        cache: None,
        layers: &[(7_087_872, 12)],
    },
    Expected {
        model: "bloom",
        total: 176_247_271_424,
        active: 176_247_271_424,
        towers: 0,
        cache: Some(8_220_835_840),
        layers: &[(2_466_437_120, 70)],
    },
    Expected {
        model: "c4ai-command-r-08-2024",
        total: 32_296_476_672,
        active: 32_296_476_672,
        towers: 0,
        cache: Some(335_544_320),
        layers: &[(754_982_912, 40)],
    },
    Expected {
        model: "c4ai-command-a-03-2025",
        total: 111_057_580_032,
        active: 111_057_580_032,
        towers: 0,
        cache: Some(536_870_912),
        layers: &[(1_686_122_496, 64)],
    },
    Expected {
        model: "exaone-4.0-32b",
        total: 32_003_216_384,
        active: 31_478_928_384,
        towers: 0,
        cache: Some(536_870_912),
        layers: &[(483_666_176, 64)],
    },
    Expected {
        model: "falcon-40b",
        total: 41_303_293_952,
        active: 41_303_293_952,
        towers: 0,
        cache: None,
        layers: &[(679_510_016, 60)],
    },
    Expected {
        model: "falcon-7b",
        total: 6_921_720_704,
        active: 6_921_720_704,
        towers: 0,
        cache: None,
        layers: &[(207_070_080, 32)],
    },
    Expected {
        model: "falcon-rw-1b",
        total: 1_311_625_216,
        active: 1_311_625_216,
        towers: 0,
        cache: None,
        layers: &[(50_358_272, 24)],
    },
    Expected {
        model: "gemma-2-27b-it",
        total: 27_227_128_320,
        active: 27_227_128_320,
        towers: 0,
        cache: Some(771_751_936),
        layers: &[(566_249_472, 46)],
    },
    Expected {
        model: "gemma-3-4b-it",
        total: 4_300_079_472,
        active: 3_880_263_168,
        towers: 419_816_304,
        cache: Some(102_760_448),
        layers: &[(94_382_592, 34)],
    },
    Expected {
        model: "gemma-3n-e4b-it",
        total: 7_818_517_072,
        active: 6_835_235_568,
        towers: 983_281_504,
        cache: Some(25_165_824),
        layers: &[(112_484_944, 20), (110_387_536, 15)],
    },
    Expected {
        model: "gemma-4-e4b-it",
        total: 7_632_344_064,
        active: 7_463_013_376,
        towers: 169_330_688,
        cache: Some(44_040_192),
        layers: &[(93_074_432, 5), (106_182_144, 1), (93_074_432, 5)],
    },
    Expected {
        model: "gemma-4-26b-a4b",
        total: 25_805_933_872,
        active: 3_822_530_560,
        towers: 572_792_112,
        cache: Some(146_800_640),
        layers: &[(814_094_976, 5), (828_513_408, 1), (814_094_976, 5)],
    },
    Expected {
        model: "glm-4-9b-chat-hf",
        total: 9_399_951_360,
        active: 8_779_194_368,
        towers: 0,
        cache: Some(83_886_080),
        layers: &[(203_960_832, 40)],
    },
    Expected {
        model: "gpt2-xl",
        total: 1_557_611_200,
        active: 1_557_611_200,
        towers: 0,
        cache: None,
        layers: &[(30_740_800, 48)],
    },
    Expected {
        model: "starcoder",
        total: 15_517_456_384,
        active: 15_517_456_384,
        towers: 0,
        cache: Some(41_943_040),
        layers: &[(379_128_064, 40)],
    },
    Expected {
        model: "gpt-neox-20b",
        total: 20_554_567_680,
        active: 20_244_713_472,
        towers: 0,
        cache: None,
        layers: &[(453_064_704, 44)],
    },
    Expected {
        model: "gpt-j-6b",
        total: 6_050_882_784,
        active: 5_844_444_384,
        towers: 0,
        cache: None,
        layers: &[(201_355_264, 28)],
    },
    Expected {
        model: "pixtral-12b",
        total: 12_682_739_712,
        active: 11_576_693_760,
        towers: 434_957_312,
        cache: Some(335_544_320),
        layers: &[(272_640_000, 40)],
    },
    Expected {
        model: "llama-3.2-90b-vision-instruct",
        total: 88_593_355_323,
        active: 86_616_126_504,
        towers: 926_490_131,
        cache: Some(671_088_640),
        layers: &[(855_654_400, 3), (855_654_658, 1), (855_654_400, 4)],
    },
    Expected {
        model: "modernbert-base",
        total: 149_655_232,
        active: 149_655_232,
        towers: 0,
        cache: None,
        layers: &[(5_014_272, 1), (5_015_040, 21)],
    },
    Expected {
        model: "mpt-7b",
        total: 6_649_286_656,
        active: 6_649_286_656,
        towers: 0,
        cache: None,
        layers: &[(201_334_784, 32)],
    },
    Expected {
        model: "opt-6.7b",
        total: 6_658_473_984,
        active: 6_658_473_984,
        towers: 0,
        cache: None,
        layers: &[(201_379_840, 32)],
    },
    Expected {
        model: "olmo-3-7b-instruct",
        total: 7_298_011_136,
        active: 6_887_272_448,
        towers: 0,
        cache: Some(1_073_741_824),
        layers: &[(202_391_552, 32)],
    },
    Expected {
        model: "paligemma-3b-pt-224",
        total: 2_923_466_480,
        active: 2_508_662_784,
        towers: 414_803_696,
        cache: Some(37_748_736),
        layers: &[(110_104_576, 18)],
    },
    Expected {
        model: "phi-2",
        total: 2_779_683_840,
        active: 2_648_611_840,
        towers: 0,
        cache: None,
        layers: &[(78_671_360, 32)],
    },
    Expected {
        model: "phi-3-mini-4k-instruct",
        total: 3_821_079_552,
        active: 3_722_578_944,
        towers: 0,
        cache: Some(402_456_576),
        layers: &[(113_252_352, 32)],
    },
    Expected {
        model: "qwen2.5-vl-7b-instruct",
        total: 8_292_166_656,
        active: 7_070_619_136,
        towers: 676_550_144,
        cache: Some(117_440_512),
        layers: &[(233_057_792, 28)],
    },
    Expected {
        model: "qwen3-vl-4b-instruct",
        total: 4_437_815_808,
        active: 4_022_468_096,
        towers: 415_347_712,
        cache: Some(301_989_888),
        layers: &[(100_930_816, 36)],
    },
    Expected {
        model: "stablelm-3b-4e1t",
        total: 2_795_443_200,
        active: 2_666_664_960,
        towers: 0,
        cache: Some(671_088_640),
        layers: &[(79_308_800, 32)],
    },
    Expected {
        model: "starcoder2-15b",
        total: 15_957_889_024,
        active: 15_655_899_136,
        towers: 0,
        cache: Some(167_772_160),
        layers: &[(383_847_424, 40)],
    },
    Expected {
        model: "flan-t5-base",
        total: 247_577_856,
        active: 222_903_552,
        towers: 0,
        cache: None,
        layers: &[(9_439_872, 1), (9_439_488, 11)],
    },
    Expected {
        model: "whisper-small",
        total: 241_734_912,
        active: 241_734_912,
        towers: 0,
        cache: None,
        layers: &[(9_450_240, 12)],
    },
    Expected {
        model: "voxtral-mini-3b-2507",
        total: 4_676_271_104,
        active: 3_611_483_136,
        towers: 662_134_784,
        cache: Some(251_658_240),
        layers: &[(106_960_896, 30)],
    },
    Expected {
        model: "bge-m3",
        total: 567_754_752,
        active: 311_752_704,
        towers: 0,
        cache: None,
        layers: &[(12_596_224, 24)],
    },
    Expected {
        model: "mistral-7b-v0.1",
        total: 7_241_732_096,
        active: 7_110_660_096,
        towers: 0,
        cache: Some(268_435_456),
        layers: &[(218_112_000, 32)],
    },
    Expected {
        model: "e5-mistral-7b-instruct",
        total: 7_110_660_096,
        active: 6_979_588_096,
        towers: 0,
        cache: Some(268_435_456),
        layers: &[(218_112_000, 32)],
    },
    Expected {
        model: "olmo-hybrid-7b",
        total: 7_430_870_688,
        active: 7_045_519_008,
        towers: 0,
        cache: Some(251_658_240),
        layers: &[
            (215_570_172, 3),
            (185_809_920, 1),
            (215_570_172, 3),
            (185_809_920, 1),
            (215_570_172, 3),
            (185_809_920, 1),
        ],
    },
    Expected {
        model: "qwen2.5-omni-7b-thinker",
        total: 11_338_288_896,
        active: 7_070_619_136,
        towers: 3_722_672_384,
        cache: Some(117_440_512),
        layers: &[(233_057_792, 28)],
    },
    Expected {
        model: "qwen3-omni-moe-thinker",
        total: 18_418_329_704,
        active: 1_339_676_664,
        towers: 1_216_843_888,
        cache: Some(66_977_792),
        layers: &[(613_814_418, 28)],
    },
    Expected {
        model: "glm-ocr",
        total: 807_479_808,
        active: 312_542_208,
        towers: 434_120_192,
        cache: Some(67_108_864),
        layers: &[(15_732_736, 16)],
    },
    Expected {
        model: "cohere2-moe",
        total: 207_570_608_128,
        active: 78_016_946_176,
        towers: 0,
        cache: Some(2_684_354_560),
        layers: &[(671_096_832, 1), (5_251_342_336, 39)],
    },
    Expected {
        model: "granitemoe-swa",
        total: 37_039_117_312,
        active: 10_936_914_944,
        towers: 0,
        cache: None,
        layers: &[(1_149_280_288, 32)],
    },
    Expected {
        model: "minimax-m3-text",
        total: 426_174_565_632,
        active: 24_733_273_344,
        towers: 0,
        cache: Some(281_542_656),
        layers: &[(333_459_712, 3), (7_416_066_560, 57)],
    },
    Expected {
        model: "lfm3",
        total: 1_728_801_536,
        active: 1_728_801_536,
        towers: 0,
        cache: Some(26_476_544),
        layers: &[(63_985_664, 2), (57_712_896, 1), (63_985_664, 1), (57_712_896, 1), (63_985_664, 1), (57_712_896, 1)],
    },
    Expected {
        model: "mistral-large-4",
        total: 1_051_822_421_504,
        active: 51_840_296_448,
        towers: 1_704_218_624,
        cache: Some(202_899_456),
        layers: &[
            (589_652_928, 1),
            (14_746_215_360, 2),
            (14_747_919_296, 1),
            (14_746_215_360, 3),
            (14_747_919_296, 1),
            (14_746_215_360, 3),
        ],
    },
    Expected {
        model: "step-3.7",
        total: 197_824_847_872,
        active: 10_347_400_448,
        towers: 1_981_014_784,
        cache: Some(377_487_360),
        layers: &[(214_180_096, 3), (4_622_524_672, 42)],
    },
    Expected {
        model: "ernie-4.5-vl-moe",
        total: 29_399_294_336,
        active: 3_993_585_536,
        towers: 774_658_560,
        cache: Some(117_440_512),
        layers: &[(110_105_600, 1), (1_046_287_488, 27)],
    },
    Expected {
        model: "aria",
        total: 18_701_885_824,
        active: 8_722_321_408,
        towers: 184_816_000,
        cache: None,
        layers: &[(570_466_304, 32)],
    },
    Expected {
        model: "granite-speech",
        total: 6_990_441_514,
        active: 6_607_343_616,
        towers: 383_097_898,
        cache: None,
        layers: &[(202_383_360, 32)],
    },
    Expected {
        model: "blip-2-opt",
        total: 1_216_944_384,
        active: 125_239_296,
        towers: 1_091_705_088,
        cache: None,
        layers: &[(7_087_872, 12)],
    },
    Expected {
        model: "t5gemma",
        total: 5_596_853_760,
        active: 5_596_853_760,
        towers: 0,
        cache: Some(218_103_808),
        layers: &[(92_026_368, 26)],
    },
    Expected {
        model: "exaone-4.5",
        total: 12_100_938_496,
        active: 9_009_639_424,
        towers: 2_671_868_672,
        cache: None,
        layers: &[(268_443_904, 32)],
    },
    Expected {
        model: "xlstm-7b",
        total: 6_865_424_896,
        active: 6_659_379_712,
        towers: 0,
        cache: Some(0),
        layers: &[(201_666_576, 32)],
    },
    Expected {
        model: "voxtral-realtime",
        total: 4_429_679_360,
        active: 3_434_118_144,
        towers: 995_561_216,
        cache: Some(218_103_808),
        layers: &[(116_594_688, 26)],
    },
    Expected {
        model: "lfm3-vl",
        total: 1_918_181_888,
        active: 1_728_801_536,
        towers: 189_380_352,
        cache: Some(26_476_544),
        layers: &[(63_985_664, 2), (57_712_896, 1), (63_985_664, 1), (57_712_896, 1), (63_985_664, 1), (57_712_896, 1)],
    },
];

fn read(model: &str) -> ModelSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models").join(model).join("config.json");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    read_config(&bytes).unwrap_or_else(|error| panic!("{model}: {error}")).0
}

fn cached_elements(model: &ModelSpec, context: u64) -> u64 {
    let attention = model.decoder.layers().filter_map(|layer| layer.mixer.attention());
    let kept = |attention: &Attention| {
        let index = attention.indexer.filter(|index| index.is_owner).map_or(0, |index| index.head_dim);
        attention.cached_elements_per_token() * attention.span.tokens_kept(context) + index * context
    };
    attention.map(kept).sum()
}

fn runs(model: &ModelSpec) -> Vec<(u64, usize)> {
    let mut runs: Vec<(u64, usize)> = Vec::new();
    for layer in model.decoder.layers() {
        match runs.last_mut() {
            Some((parameters, count)) if *parameters == layer.parameters() => *count += 1,
            _ => runs.push((layer.parameters(), 1)),
        }
    }
    runs
}

#[test]
fn parameters_equal_the_reference_modules() {
    for expected in EXPECTED {
        let spec = read(expected.model);
        let name = expected.model;
        let count = spec.parameters();
        assert_eq!(spec.certainty, Certainty::Known, "{name}");
        assert_eq!(count.total, expected.total, "{name}: total");
        assert_eq!(count.active_per_token, expected.active, "{name}: active");
        assert_eq!(count.vision, expected.towers, "{name}: towers");
        let runs = runs(&spec);
        assert_eq!(&runs[..expected.layers.len().min(runs.len())], expected.layers, "{name}: layers");
    }
}

#[test]
fn caches_equal_the_reference() {
    for expected in EXPECTED {
        if let Some(cache) = expected.cache {
            assert_eq!(cached_elements(&read(expected.model), 4096), cache, "{}", expected.model);
        }
    }
}

#[test]
fn every_golden_folder_is_expected_and_says_where_it_is_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models");
    for expected in EXPECTED {
        let text = std::fs::read_to_string(root.join(expected.model).join("PROVENANCE.toml")).unwrap();
        for key in ["model = ", "source = ", "content = ", "expected = "] {
            assert!(text.contains(key), "{}: PROVENANCE.toml has no {key}", expected.model);
        }
    }
}
