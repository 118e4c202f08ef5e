//! VPC Flow Logs: what a subnetwork says of them.
//!
//! No packet depends on it, so it is among what is said of the subnetwork (see [`crate::details`]).
//! Source: compute v1, `SubnetworkLogConfig`; documentation of VPC Flow Logs.

use crate::details::Details;
use crate::{LogMetadata, Refusal};
use serde_json::{Map, Value, json};

/// How a subnetwork's flows are logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowLog {
    /// How long what passes is summed up, in seconds.
    pub interval: u32,
    /// The share of connections that are logged, 0 to 1.
    pub sampling: f64,
    /// Whether instances and networks are told.
    pub metadata: LogMetadata,
}

/// What the API takes when nothing more is said than that they are.
impl Default for FlowLog {
    fn default() -> Self {
        Self { interval: 5, sampling: 0.5, metadata: LogMetadata::ExcludeAllMetadata }
    }
}

/// One of Google's intervals, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(u32);

impl Interval {
    /// All of them, by Google's names.
    pub const ALL: [(&str, Interval); 6] = [
        ("INTERVAL_5_SEC", Interval(5)),
        ("INTERVAL_30_SEC", Interval(30)),
        ("INTERVAL_1_MIN", Interval(60)),
        ("INTERVAL_5_MIN", Interval(300)),
        ("INTERVAL_10_MIN", Interval(600)),
        ("INTERVAL_15_MIN", Interval(900)),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or(Self::ALL[0].0, |(name, _)| name)
    }
}

impl FlowLog {
    /// What a subnetwork says, if it wants its flows logged.
    pub fn of(details: &Details) -> Result<Option<FlowLog>, Refusal> {
        let none = Map::new();
        let config = details.get("logConfig").and_then(Value::as_object).unwrap_or(&none);
        let enabled = config.get("enable").or(details.get("enableFlowLogs"));
        let invalid = |field: &str, value: &Value, expected: &str| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Refusal::invalid(&format!("logConfig.{field}"), value, expected)
        };
        let mut log = FlowLog::default();
        for (field, value) in config {
            match field.as_str() {
                "enable" => {}
                "aggregationInterval" => {
                    let known = Interval::ALL.iter().find(|(name, _)| *value == json!(name));
                    let names: Vec<_> = Interval::ALL.iter().map(|(name, _)| *name).collect();
                    let expected = format!("Must be one of {}.", names.join(", "));
                    log.interval = known.ok_or_else(|| invalid(field, value, &expected))?.1.0;
                }
                "flowSampling" => {
                    let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
                    log.sampling = share.ok_or_else(|| invalid(field, value, "Must be between 0 and 1."))?;
                }
                "metadata" => {
                    let known = [LogMetadata::IncludeAllMetadata, LogMetadata::ExcludeAllMetadata];
                    let known = known.into_iter().find(|known| *value == json!(known.as_str()));
                    let expected = "Must be INCLUDE_ALL_METADATA or EXCLUDE_ALL_METADATA.";
                    log.metadata = known.ok_or_else(|| invalid(field, value, expected))?;
                }
                "filterExpr" if *value == json!("true") || *value == json!("") => {}
                "metadataFields" if value.as_array().is_some_and(Vec::is_empty) => {}
                _ => {
                    return Err(invalid(
                        field,
                        value,
                        "Tombolo logs flows without filters and chosen fields.",
                    ));
                }
            }
        }
        Ok((enabled == Some(&Value::Bool(true))).then_some(log))
    }

    /// As the API tells it.
    pub fn wire(&self) -> Value {
        json!({
            "enable": true,
            "aggregationInterval": Interval(self.interval).as_str(),
            "filterExpr": "true",
            "flowSampling": self.sampling,
            "metadata": self.metadata.as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(said: Value) -> Result<Option<FlowLog>, Refusal> {
        FlowLog::of(&serde_json::from_value(said).unwrap())
    }

    #[test]
    fn what_a_subnetwork_may_say() {
        let plain = FlowLog { interval: 5, sampling: 0.5, metadata: LogMetadata::ExcludeAllMetadata };
        let full = FlowLog { interval: 600, sampling: 1.0, metadata: LogMetadata::IncludeAllMetadata };
        let config = full.wire();
        for (said, want) in [
            (json!({}), None),
            (json!({ "enableFlowLogs": true }), Some(plain)),
            (json!({ "logConfig": { "enable": true } }), Some(plain)),
            (json!({ "enableFlowLogs": true, "logConfig": { "enable": false } }), None),
            (json!({ "logConfig": { "aggregationInterval": "INTERVAL_5_SEC" } }), None),
            (json!({ "logConfig": config }), Some(full)),
        ] {
            assert_eq!(of(said.clone()).unwrap(), want, "{said}");
        }
        for (field, value) in [
            ("aggregationInterval", json!("INTERVAL_7_SEC")),
            ("flowSampling", json!(1.5)),
            ("flowSampling", json!("half")),
            ("metadata", json!("CUSTOM_METADATA")),
            ("filterExpr", json!("inIpRange(connection.src_ip, '10.0.0.0/8')")),
            ("metadataFields", json!(["src_vpc"])),
        ] {
            let refused = of(json!({ "logConfig": { "enable": true, field: value } })).unwrap_err();
            assert!(refused.to_string().contains(&format!("logConfig.{field}")), "{refused}");
        }
    }
}
