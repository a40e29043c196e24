//! [`Figures`]: what is told, read when it is asked for.

use std::fmt::Error;

use egress::audit::Counted;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::sandboxes::Sandboxes;

/// Reads them from the sandboxes and what they share.
#[derive(Debug)]
pub(super) struct Figures(pub(super) Sandboxes);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let services = self.0.services();
        gauge(
            &mut encoder,
            "thaw_build_info",
            "Which hostd this is.",
            [([("version", crate::VERSION)], 1)],
        )?;
        let states = self.0.states().into_iter();
        let states = states.map(|(state, count)| ([("state", state)], count as u64));
        gauge(&mut encoder, "thaw_sandboxes", "Living sandboxes.", states)?;
        let limit = services.config.max_sandboxes as u64;
        let most = "How many sandboxes may live at once.";
        single(&mut encoder, "thaw_sandboxes_limit", most, limit)?;
        if let Some(networks) = &services.networks {
            let ready = networks.ready() as u64;
            let help = "Networks that are made and not in use.";
            single(&mut encoder, "thaw_networks_ready", help, ready)?;
            egress(&mut encoder, &networks.decisions().totals())?;
        }
        Ok(())
    }
}

fn egress(encoder: &mut DescriptorEncoder, counted: &Counted) -> Result<(), Error> {
    let decided = counted.decided.iter().map(|(protocol, outcome, count)| {
        let labels = [
            ("protocol", protocol.to_string()),
            ("outcome", outcome.to_string()),
        ];
        (labels, *count)
    });
    let help = "Decisions about connections and requests of sandboxes.";
    counter(encoder, "thaw_egress_decisions", help, None, decided)?;
    let reasons = counted.reasons.iter();
    let reasons = reasons.map(|(reason, count)| ([("reason", *reason)], *count));
    let help = "Why connections and requests were refused, withheld from a secret, failed, or ended early.";
    counter(encoder, "thaw_egress_reasons", help, None, reasons)?;
    let bytes = [
        ([("direction", "up")], counted.bytes_up),
        ([("direction", "down")], counted.bytes_down),
    ];
    let help = "Bytes of connections and requests that have ended; up is from sandboxes to hosts.";
    counter(encoder, "thaw_egress", help, Some(Unit::Bytes), bytes)
}

/// A value without labels.
fn single(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), Error> {
    let value = ConstGauge::new(value);
    let encoder = encoder.encode_descriptor(name, help, None, value.metric_type())?;
    value.encode(encoder)
}

fn gauge<const N: usize, V: EncodeLabelValue>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'static str, V); N], u64)>,
) -> Result<(), Error> {
    let values = values.into_iter();
    let values = values.map(|(labels, value)| (labels, ConstGauge::new(value)));
    family(encoder, name, help, None, values)
}

fn counter<const N: usize, V: EncodeLabelValue>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    values: impl IntoIterator<Item = ([(&'static str, V); N], u64)>,
) -> Result<(), Error> {
    let values = values.into_iter();
    let values = values.map(|(labels, value)| (labels, ConstCounter::new(value)));
    family(encoder, name, help, unit, values)
}

/// One name, and its values by their labels; nothing, if there is none.
fn family<const N: usize, V: EncodeLabelValue, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    values: impl Iterator<Item = ([(&'static str, V); N], M)>,
) -> Result<(), Error> {
    let mut values = values.peekable();
    let Some((_, first)) = values.peek() else {
        return Ok(());
    };
    let kind = first.metric_type();
    let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
    for (labels, value) in values {
        value.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
