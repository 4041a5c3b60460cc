//! The workload record: one row per phase of one request, in the 65 columns that probes of devices
//! and of links write too, so that predictions and measurements lie in one table.

use crate::sweep::row::Row;
use crate::table::record::record;

record! {
    /// One phase of one workload. Times are nanoseconds, sizes MB of 10⁶ bytes where they are not
    /// bytes, shares percent; what a workload has no part in is absent.
    #[expect(missing_docs, reason = "the names are those of the published record")]
    pub struct WorkloadRecord {
        required {
            /// Unique within the run.
            record_id: String,
            /// The run.
            run_id: String,
            /// When the run was, since 1970.
            t_wall_ns: i64,
            /// When the phase begins, since the request.
            t_sim_ns: i64,
        }
        optional {
            /// What does the work.
            subsystem: String,
            /// What is done.
            operation: String,
            /// Which part of it.
            phase: String,
            /// How long it takes.
            latency_ns: i64,
            /// Multiply-adds with weights.
            macs: i64,
            /// Operations: two per multiply-add.
            flops: i64,
            /// The format of the weights.
            precision: String,
            gpu_util_pct: f32,
            gpu_mem_used_mb: f32,
            gpu_mem_bw_gbps: f32,
            sm_active_pct: f32,
            tensor_core_active_pct: f32,
            nvenc_util_pct: f32,
            nvdec_util_pct: f32,
            input_bytes: i64,
            output_bytes: i64,
            input_shape: String,
            output_shape: String,
            src_subsystem: String,
            dst_subsystem: String,
            encode_codec: String,
            encode_bitrate_kbps: f32,
            encode_frame_size_bytes: i64,
            encode_keyframe: bool,
            link_profile: String,
            link_rtt_ms: f32,
            link_loss_pct: f32,
            link_throughput_mbps: f32,
            pos_x: f32,
            pos_y: f32,
            pos_z: f32,
            target_locked: bool,
            radar_n_points: i64,
            radar_n_clusters: i64,
            radar_n_tracks: i64,
            radar_format: String,
            g2g_capture_ns: i64,
            g2g_isp_done_ns: i64,
            g2g_encode_done_ns: i64,
            g2g_tx_done_ns: i64,
            g2g_rx_done_ns: i64,
            g2g_decode_done_ns: i64,
            g2g_display_ns: i64,
            g2g_total_ms: f32,
            /// Prompt tokens that are computed.
            llm_prompt_tokens: i64,
            /// Tokens that are generated.
            llm_output_tokens: i64,
            /// Memory of the cache that the request holds at its end.
            llm_kv_cache_mb: f32,
            /// Tokens of the phase per second.
            llm_tokens_per_sec: f32,
            isp_stage: String,
            isp_input_format: String,
            isp_output_format: String,
            isp_line_rate_mpps: f32,
            isp_pixels_processed: i64,
            isp_lanes_used: i64,
            isp_hdr_exposures: i64,
            dsp_op: String,
            dsp_pyramid_levels: i64,
            dsp_kernel_size: i64,
            dsp_simd_lanes: i64,
            dsp_cycles: i64,
            dsp_clock_mhz: f32,
        }
    }
}

/// Who asked for records, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The run's name; records are numbered within it.
    pub id: String,
    /// Nanoseconds since 1970, by the caller's clock.
    pub started_ns: i64,
}

/// What records tell of a request beside its row.
pub(super) struct Told<'a> {
    pub(super) devices: &'a str,
    pub(super) precision: Option<&'a str>,
    /// Parameters that each token is multiplied with.
    pub(super) active: u64,
    /// Bytes that a sequence holds after its prompt and at its end: cache and state.
    pub(super) held_bytes: [u64; 2],
    /// Prompt tokens that are computed.
    pub(super) prompt: u64,
    pub(super) generated: u64,
}

/// The two phases of one combination's request; none where its speed is not known.
pub(super) fn records(run: &Run, number: u64, row: &Row, told: &Told<'_>) -> Vec<WorkloadRecord> {
    let (Some(first), Some(whole)) = (row.speed.ttft_ms, row.speed.total_ms) else { return Vec::new() };
    let (first, whole) = (first.value * 1e6, whole.value * 1e6);
    let phases = [
        ("prefill", 0.0, first, told.prompt, told.held_bytes[0]),
        ("decode", first, whole - first, told.generated.saturating_sub(1), told.held_bytes[1]),
    ];
    let record = |(phase, from, takes, tokens, held): (&str, f64, f64, u64, u64)| {
        let macs = told.active.saturating_mul(tokens);
        WorkloadRecord {
            record_id: format!("{}-{number}-{phase}", run.id),
            run_id: run.id.clone(),
            t_wall_ns: run.started_ns,
            t_sim_ns: nanoseconds(from),
            subsystem: Some(told.devices.to_owned()),
            operation: Some("llm".to_owned()),
            phase: Some(phase.to_owned()),
            latency_ns: Some(nanoseconds(takes)),
            macs: Some(count(macs)),
            flops: Some(count(macs.saturating_mul(2))),
            precision: told.precision.map(str::to_owned),
            gpu_mem_used_mb: row.memory.total().map(|bytes| single(bytes as f64 / 1e6)),
            llm_prompt_tokens: Some(count(told.prompt)),
            llm_output_tokens: Some(count(told.generated)),
            llm_kv_cache_mb: Some(single(held as f64 / 1e6)),
            llm_tokens_per_sec: Some(single(tokens as f64 / takes * 1e9)),
            ..WorkloadRecord::default()
        }
    };
    // A request of one token is over with its prompt.
    phases.into_iter().filter(|(_, _, takes, tokens, _)| *takes > 0.0 && *tokens > 0).map(record).collect()
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "a float beyond the range becomes its end")]
fn nanoseconds(value: f64) -> i64 {
    value.round() as i64
}

#[expect(clippy::cast_possible_truncation, reason = "the column holds seven digits")]
fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::parquet::ParquetWriter;
    use crate::table::record::{Record, block_of, read_parquet};
    use crate::table::{BlockSink, Kind};

    #[test]
    fn there_are_65_columns_and_four_of_them_are_always_there() {
        let fields = WorkloadRecord::fields();
        assert_eq!(fields.len(), 65);
        let required: Vec<_> = fields.iter().filter(|field| field.is_required).map(|field| &*field.name).collect();
        assert_eq!(required, ["record_id", "run_id", "t_wall_ns", "t_sim_ns"]);
        let kinds = |kind| fields.iter().filter(|field| field.kind == kind).count();
        assert_eq!([kinds(Kind::Text), kinds(Kind::Integer), kinds(Kind::Single), kinds(Kind::Flag)], [17, 27, 19, 2]);
    }

    #[test]
    fn records_come_back_from_parquet_as_they_went() {
        let one = WorkloadRecord {
            record_id: "a-0-decode".to_owned(),
            run_id: "a".to_owned(),
            t_wall_ns: 1,
            t_sim_ns: 2,
            encode_keyframe: Some(true),
            llm_tokens_per_sec: Some(12.5),
            macs: Some(i64::MAX),
            ..WorkloadRecord::default()
        };
        let rows = vec![one, WorkloadRecord { record_id: "a-1-decode".to_owned(), ..WorkloadRecord::default() }];
        let path = std::env::temp_dir().join(format!("hwledger-record-{}.parquet", std::process::id()));
        let file = std::fs::File::create(&path).expect("a temporary file");
        let mut writer = ParquetWriter::new(file, WorkloadRecord::fields()).expect("a file");
        writer.write(block_of(&rows)).expect("a file");
        Box::new(writer).finish().expect("a file");
        let (read, unknown) = read_parquet(std::fs::File::open(&path).expect("it was written")).expect("it is one");
        std::fs::remove_file(&path).expect("it was there");
        assert_eq!((read, unknown), (rows, Vec::new()));
    }
}
