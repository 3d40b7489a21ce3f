//! What Alertmanager, PagerDuty and Slack are sent: pure functions from notices to JSON.
//!
//! With the feature `webhooks` a `WebhookSink` posts them; without it a host program does, by its own
//! HTTP client, from an [`AlertSink`](super::AlertSink).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Notice, NoticeStatus, Severity};

/// What Alertmanager sends to webhooks, version 4 of the format, for notices of one cache.
pub fn alertmanager(receiver: &str, notices: &[Notice]) -> Value {
    let alerts: Vec<Value> = notices.iter().map(alertmanager_alert).collect();
    let is_firing = notices.iter().any(|notice| notice.status == NoticeStatus::Firing);
    let cache = notices.first().map_or("", |notice| notice.cache.as_str());
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{cache={cache:?}}}"),
        "truncatedAlerts": 0,
        "status": if is_firing { "firing" } else { "resolved" },
        "receiver": receiver,
        "groupLabels": { "cache": cache },
        "commonLabels": { "cache": cache },
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": alerts,
    })
}

fn alertmanager_alert(notice: &Notice) -> Value {
    json!({
        "status": notice.status.as_str(),
        "labels": labels(notice),
        "annotations": annotations(notice),
        "startsAt": timestamp(notice.started),
        // Alertmanager's own word for "not yet".
        "endsAt": notice.ended.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), timestamp),
        "generatorURL": "",
        "fingerprint": format!("{:016x}", fingerprint(notice)),
    })
}

/// What Alertmanager itself takes at `/api/v2/alerts`.
pub fn alertmanager_post(notices: &[Notice]) -> Value {
    alertmanager_alerts(notices, None)
}

/// The same for a sender that comes again before `until`: what fires is over then, unless said anew.
#[cfg(feature = "webhooks")]
pub(super) fn alertmanager_until(notices: &[Notice], until: SystemTime) -> Value {
    alertmanager_alerts(notices, Some(until))
}

fn alertmanager_alerts(notices: &[Notice], until: Option<SystemTime>) -> Value {
    let alerts = notices.iter().map(|notice| {
        let mut alert = json!({
            "labels": labels(notice),
            "annotations": annotations(notice),
            "startsAt": timestamp(notice.started),
        });
        if let Some(ended) = notice.ended.or(until) {
            alert["endsAt"] = timestamp(ended).into();
        }
        alert
    });
    alerts.collect()
}

fn labels(notice: &Notice) -> Value {
    json!({
        "alertname": notice.alert,
        "cache": notice.cache,
        "severity": notice.severity.as_str(),
    })
}

fn annotations(notice: &Notice) -> Value {
    let value = notice.value.as_deref().unwrap_or("no data");
    json!({ "summary": notice.condition, "value": value })
}

/// An event of PagerDuty, version 2: one incident for each alert of each cache, which the notice of
/// its end resolves.
pub fn pagerduty(routing_key: &str, notice: &Notice) -> Value {
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": match notice.status {
            NoticeStatus::Firing => "trigger",
            NoticeStatus::Resolved => "resolve",
        },
        "dedup_key": format!("tierce/{}/{}", notice.cache, notice.alert),
    });
    if notice.status == NoticeStatus::Firing {
        event["payload"] = json!({
            "summary": format!("{}: {} ({})", notice.cache, notice.alert, told(notice)),
            "source": notice.cache,
            "severity": match notice.severity {
                Severity::Critical => "critical",
                Severity::Warning => "warning",
                Severity::Info => "info",
            },
            "timestamp": timestamp(notice.started),
            "component": "cache",
            "class": notice.alert,
            "custom_details": { "condition": notice.condition, "value": notice.value },
        });
    }
    event
}

/// A message of a Slack webhook.
pub fn slack(notice: &Notice) -> Value {
    let (sign, colour) = match (notice.status, notice.severity) {
        (NoticeStatus::Resolved, _) => ("RESOLVED", "#2eb67d"),
        (_, Severity::Critical) => ("CRITICAL", "#e01e5a"),
        (_, Severity::Warning) => ("WARNING", "#ecb22e"),
        (_, Severity::Info) => ("INFO", "#36c5f0"),
    };
    let head = format!("[{sign}] {}: {}", notice.cache, notice.alert);
    json!({
        "text": escaped(&head),
        "attachments": [{
            "color": colour,
            "text": escaped(&told(notice)),
            "ts": unix(notice.ended.unwrap_or(notice.started)).as_secs(),
        }],
    })
}

fn told(notice: &Notice) -> String {
    match &notice.value {
        Some(value) => format!("{}, is {value}", notice.condition),
        None => format!("{}, no data", notice.condition),
    }
}

/// Slack takes these three for marks of its own.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// FNV-1a (64 bit) of the labels: the same for each notice of one alert.
fn fingerprint(notice: &Notice) -> u64 {
    let parts = [notice.alert.as_str(), "\0", notice.cache.as_str()];
    parts.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn unix(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time as RFC 3339 writes it, in UTC.
pub fn timestamp(time: SystemTime) -> String {
    let since = unix(time);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (second, millis) = (second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
///
/// Hinnant: "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years that begin in
/// March, so that the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(status: NoticeStatus) -> Notice {
        let started = UNIX_EPOCH + Duration::from_millis(1_762_500_000_250);
        let is_over = status == NoticeStatus::Resolved;
        Notice {
            alert: "CacheErrorRateHigh".into(),
            status,
            severity: Severity::Critical,
            condition: "error_rate > 1%".into(),
            value: Some("2.5%".into()),
            cache: "users".into(),
            started,
            ended: is_over.then(|| started + Duration::from_secs(60)),
        }
    }

    #[test]
    fn timestamps_are_those_of_the_calendar() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_762_500_000, "2025-11-07T07:20:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), written);
        }
    }

    #[test]
    fn alertmanager_gets_what_it_sends_itself() {
        let payload = alertmanager("tierce", &[notice(NoticeStatus::Firing)]);
        assert_eq!((&payload["version"], &payload["status"]), (&"4".into(), &"firing".into()));
        let alert = &payload["alerts"][0];
        assert_eq!(alert["labels"]["alertname"], "CacheErrorRateHigh");
        assert_eq!(alert["startsAt"], "2025-11-07T07:20:00.250Z");
        assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
        let over = alertmanager("tierce", &[notice(NoticeStatus::Resolved)]);
        assert_eq!(
            (&over["status"], &over["alerts"][0]["endsAt"]),
            (&"resolved".into(), &"2025-11-07T07:21:00.250Z".into())
        );
        assert_eq!(over["alerts"][0]["fingerprint"], alert["fingerprint"]);
        let post = alertmanager_post(&[notice(NoticeStatus::Firing)]);
        assert!(post[0].get("endsAt").is_none() && post[0]["labels"]["severity"] == "critical");
    }

    #[test]
    fn pagerduty_resolves_the_incident_that_it_triggered() {
        let (begin, end) = (notice(NoticeStatus::Firing), notice(NoticeStatus::Resolved));
        let (trigger, resolve) = (pagerduty("key", &begin), pagerduty("key", &end));
        assert_eq!(trigger["event_action"], "trigger");
        assert_eq!(trigger["payload"]["severity"], "critical");
        assert_eq!(resolve["event_action"], "resolve");
        assert_eq!(trigger["dedup_key"], resolve["dedup_key"]);
        assert!(resolve.get("payload").is_none());
    }

    #[test]
    fn slack_does_not_take_an_operator_for_a_mark() {
        let message = slack(&notice(NoticeStatus::Firing));
        assert_eq!(message["text"], "[CRITICAL] users: CacheErrorRateHigh");
        assert_eq!(message["attachments"][0]["text"], "error_rate &gt; 1%, is 2.5%");
    }
}
