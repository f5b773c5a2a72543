//! An instant query to a Prometheus that root named on this host. Talks HTTP to that address only.

use super::{failed, no_data};
use fother_core::{
    policy::{
        CheckAnswer,
        checks::{Compare, INSTANCE, decimal},
    },
    text::printable,
};
use serde::{Deserialize, Serialize};
use std::{fs, io::Read, sync::Arc, time::Duration};
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig},
};

const LIMIT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Most series of one answer.
const SERIES_MAX: usize = 1_000;
const FILE_BYTES_MAX: u64 = 4 << 20;

/// `[prometheus.NAME]` of the root-owned `agent.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prometheus {
    /// `http://address:9090` or `https://…`, with the path before `/api`, without a slash at its end.
    pub url: String,
    /// What `$instance` stands for in queries: the label of this host's own series, for example `web-1:9100`.
    pub instance: String,
    /// PEM file of the authority of an `https` server.
    #[serde(default)]
    pub ca: Option<String>,
    /// File with a bearer token, readable by root only.
    #[serde(default)]
    pub token_file: Option<String>,
}

/// One check's question.
pub(super) struct Question<'a> {
    pub(super) query: &'a str,
    pub(super) op: Compare,
    pub(super) value: &'a str,
    pub(super) series: Option<&'a str>,
    pub(super) max_age_s: u32,
}

/// The answer of `/api/v1/query` (Prometheus HTTP API).
#[derive(Deserialize)]
struct Reply {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Scalar(Sample),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    value: Sample,
}

/// Time of the evaluation in seconds, and the value as a text.
#[derive(Deserialize)]
struct Sample(f64, String);

impl Sample {
    fn value(&self) -> Option<f64> {
        self.1.parse().ok().filter(|value: &f64| !value.is_nan())
    }
}

impl Prometheus {
    pub(super) fn ask(&self, question: &Question<'_>) -> CheckAnswer {
        match self.asked(question) {
            Ok(answer) => answer,
            Err(why) => no_data(why),
        }
    }

    fn asked(&self, question: &Question<'_>) -> Result<CheckAnswer, String> {
        let wanted = decimal(question.value).ok_or("the wanted value is no number")?;
        let query = self.filled(question.query)?;
        let series = self.filled(question.series.unwrap_or(question.query))?;
        let samples = self.query(&query)?;
        for sample in self.query(&format!("timestamp({series})"))? {
            // Its clock for both: this host's does not matter.
            let age = sample.0 - sample.value().ok_or("a time that is no number")?;
            if age > f64::from(question.max_age_s) {
                return Err(format!("a sample is {age:.0} s old, more than {} s", question.max_age_s));
            }
        }
        for sample in &samples {
            let value = sample.value().ok_or_else(|| format!("the answer to `{query}` is no number"))?;
            if !question.op.holds(value, wanted) {
                return Ok(failed(format!("`{query}` is {value}, not {} {}", question.op.word(), question.value)));
            }
        }
        Ok(CheckAnswer::Fine)
    }

    /// The query with this host's own instance in it, quoted as PromQL quotes.
    fn filled(&self, query: &str) -> Result<String, String> {
        let plain = !self.instance.is_empty() && self.instance.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-_[]/".contains(&b));
        if query.contains(INSTANCE) && !plain {
            return Err("the instance in agent.toml has signs that are not allowed".to_owned());
        }
        Ok(query.replace(INSTANCE, &self.instance))
    }

    /// The samples of an instant query; an empty answer is no data.
    fn query(&self, query: &str) -> Result<Vec<Sample>, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", self.url);
        let mut request = self.agent()?.get(format!("{}/api/v1/query", self.url)).query("query", query);
        if let Some(path) = &self.token_file {
            request = request.header("Authorization", format!("Bearer {}", read(path)?.trim()));
        }
        let response = request.call().map_err(|error| told(&error))?;
        let mut bytes = Vec::new();
        response.into_body().into_reader().take(ANSWER_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| told(&error))?;
        if bytes.len() as u64 > ANSWER_BYTES_MAX {
            return Err(told(&"answered more than 1 MiB"));
        }
        let reply: Reply = serde_json::from_slice(&bytes).map_err(|_| told(&"the answer is not Prometheus's"))?;
        match (reply.status.as_str(), reply.data) {
            ("success", Some(Data::Vector(list))) if list.is_empty() => Err(format!("`{query}` has no samples")),
            ("success", Some(Data::Vector(list))) if list.len() > SERIES_MAX => Err(format!("`{query}` has more than {SERIES_MAX} series")),
            ("success", Some(Data::Vector(list))) => Ok(list.into_iter().map(|series| series.value).collect()),
            ("success", Some(Data::Scalar(sample))) => Ok(vec![sample]),
            ("success", _) => Err(format!("`{query}` does not answer with numbers of one moment")),
            _ => Err(told(&printable(reply.error.as_deref().unwrap_or("no reason given"), 300))),
        }
    }

    fn agent(&self) -> Result<Agent, String> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(LIMIT))
            .user_agent("fother-check");
        if self.url.starts_with("https://") {
            let pem = read(self.ca.as_deref().ok_or("an https Prometheus needs `ca` in agent.toml")?)?;
            let roots: Vec<Certificate<'static>> = ureq::tls::parse_pem(pem.as_bytes())
                .filter_map(|item| if let Ok(PemItem::Certificate(certificate)) = item { Some(certificate) } else { None })
                .collect();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(RootCerts::new_with_certs(&roots));
            config = config.tls_config(tls.build());
        }
        Ok(config.build().new_agent())
    }
}

fn read(path: &str) -> Result<String, String> {
    let told = |error: std::io::Error| format!("{path} cannot be read: {error}");
    let mut text = String::new();
    fs::File::open(path).map_err(told)?.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(told)?;
    Ok(text)
}
