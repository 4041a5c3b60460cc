//! How DeepSeek's configurations say that experts are chosen.
//!
//! Source: transformers 5 (`modeling_deepseek_v2.py`, `modeling_deepseek_v3.py`, `modeling_glm4_moe_lite.py`).

use hwledger_core::ModelSpec;

use crate::error::LoadError;
use crate::model::conventions::{Conventions, ExpertGroups, Routing};
use crate::model::settings::checked_groups;

use super::families::{ExpertChoice, Family};
use super::settings::Keys;

/// The groups that experts are chosen from, and the routing, which goes to the conventions.
pub(super) fn choice(
    keys: Keys<'_>,
    family: &Family,
    spec: &ModelSpec,
    conventions: &mut Conventions,
) -> Result<Option<ExpertGroups>, LoadError> {
    let Some(choice) = family.expert_choice else { return Ok(None) };
    let refuse = |what: String| Err(LoadError::Unsupported(what));
    conventions.routing = match keys.text("scoring_func") {
        None => conventions.routing,
        Some("softmax") => Routing::SoftmaxThenChoose,
        Some("sigmoid") => Routing::SigmoidThenChoose,
        Some(other) => return refuse(format!("experts behind the router `{other}`")),
    };
    let choice = match keys.text("topk_method") {
        None => choice,
        Some("greedy") => ExpertChoice::All,
        Some("group_limited_greedy" | "noaux_tc") => ExpertChoice::OfGroups,
        Some(other) => return refuse(format!("experts chosen by `{other}`")),
    };
    let count = |key: &str| -> Result<Option<u64>, LoadError> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        Ok(keys.positive(key)?.map(|count| count as u64))
    };
    match (choice, count("n_group")?) {
        (ExpertChoice::OfGroups, Some(groups)) if groups > 1 => {
            checked_groups(spec, groups, count("topk_group")?.unwrap_or(0))
        }
        _ => Ok(None),
    }
}
