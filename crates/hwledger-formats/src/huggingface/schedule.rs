//! Which layer is of which kind: lists, patterns and periods.

use super::config::{Config, ConfigError};

/// Kinds of layers by the words under `key`, one per layer; nothing where the key is absent.
///
/// **Errors**: fewer words than layers.
pub(crate) fn kinds<'a>(config: &Config<'a>, key: &str, layers: u64) -> Result<Option<Vec<&'a str>>, ConfigError> {
    let Some(mut kinds) = config.texts(key)? else { return Ok(None) };
    let wanted = usize::try_from(layers).unwrap_or(usize::MAX);
    if kinds.len() < wanted {
        return Err(config.contradiction(key, format!("names {} layers of {layers}", kinds.len())));
    }
    kinds.truncate(wanted);
    Ok(Some(kinds))
}

/// Numbers under `key`, one per layer; a single number stands for all layers.
///
/// **Errors**: fewer numbers than layers.
pub(crate) fn per_layer(config: &Config<'_>, key: &str, layers: u64) -> Result<Option<Vec<u64>>, ConfigError> {
    let is_list = config.get(key).is_some_and(serde_json::Value::is_array);
    let Some(mut numbers) = config.counts(key)? else { return Ok(config.count(key)?.map(|one| repeated(one, layers))) };
    if !is_list {
        return Ok(numbers.first().map(|&one| repeated(one, layers)));
    }
    let wanted = usize::try_from(layers).unwrap_or(usize::MAX);
    if numbers.len() < wanted {
        return Err(config.contradiction(key, format!("has {} entries for {layers} layers", numbers.len())));
    }
    numbers.truncate(wanted);
    Ok(Some(numbers))
}

fn repeated(one: u64, layers: u64) -> Vec<u64> {
    (0..layers).map(|_| one).collect()
}

/// A word that names no kind of layer.
pub(crate) fn unknown(config: &Config<'_>, key: &str, word: &str) -> ConfigError {
    config.contradiction(key, format!("has a layer of unknown kind `{word}`"))
}

/// Which layers have experts: by `mlp_layer_types` where it is there; else from `first_k_dense_replace`
/// (or `default_dense`) on, every `moe_layer_freq`-th or as its list says.
pub(crate) fn sparse_layers(config: &Config<'_>, layers: u64, default_dense: u64) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "mlp_layer_types";
    if let Some(kinds) = kinds(config, KEY, layers)? {
        return kinds
            .into_iter()
            .map(|kind| match kind {
                "sparse" | "moe" | "hash_moe" => Ok(true),
                "dense" | "mlp" => Ok(false),
                other => Err(unknown(config, KEY, other)),
            })
            .collect();
    }
    let is_listed = config.get("moe_layer_freq").is_some_and(serde_json::Value::is_array);
    if is_listed && let Some(flags) = per_layer(config, "moe_layer_freq", layers)? {
        return Ok(flags.into_iter().map(|flag| flag != 0).collect());
    }
    let dense = config.count("first_k_dense_replace")?.unwrap_or(default_dense);
    let step = config.count("moe_layer_freq")?.unwrap_or(1).max(1);
    Ok((0..layers).map(|index| index >= dense && index % step == 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(text: &str, check: impl FnOnce(Config<'_>) -> T) -> T {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        check(Config::root(value.as_object().unwrap()))
    }

    #[test]
    fn experts_start_where_the_keys_say() {
        with(r#"{"first_k_dense_replace": 1, "moe_layer_freq": 2}"#, |config| {
            assert_eq!(sparse_layers(&config, 5, 0).unwrap(), [false, false, true, false, true]);
        });
        with(r#"{"moe_layer_freq": [0, 1, 1]}"#, |config| {
            assert_eq!(sparse_layers(&config, 3, 0).unwrap(), [false, true, true]);
            let error = sparse_layers(&config, 4, 0).unwrap_err().to_string();
            assert_eq!(error, "`moe_layer_freq` has 3 entries for 4 layers");
        });
        with(r#"{"mlp_layer_types": ["dense", "sparse", "wide"]}"#, |config| {
            assert_eq!(sparse_layers(&config, 2, 0).unwrap(), [false, true]);
            let error = sparse_layers(&config, 3, 0).unwrap_err().to_string();
            assert_eq!(error, "`mlp_layer_types` has a layer of unknown kind `wide`");
        });
    }
}
