//! `patterns`: what the lines of streams look like.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use loki_core::TimeRange;
use loki_logql::engine::Error;
use loki_logql::parse_log;
use loki_store::patterns::{PatternSeries, Patterns};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Params, TenantHeader, parse_range, parse_step_nanos};
use crate::queries::{Lookback, RequestLimits, Turn};
use crate::response::{json, write_display, write_list, write_string};
use crate::routes::{Routes, get_and_post};
use crate::tenants::TenantMatchers;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The route of this module.
pub(crate) fn routes() -> Routes {
    Routes::new().route("/loki/api/v1/patterns", get_and_post(patterns))
}

/// The patterns of the selected streams. As in Loki a pipeline is accepted; patterns are of all lines of a stream, so it
/// changes nothing. Without the feature there is nothing here.
async fn patterns(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    let config = &app.config().patterns;
    if !config.enabled {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    let now = app.queries().now();
    let (start, end) = parse_range(&params, now)?;
    let step = u64::try_from(parse_step_nanos(&params, start, end)?).unwrap_or(0);
    let step = step.max(u64::try_from(config.sample_interval.as_nanos()).unwrap_or(u64::MAX));
    let tenants = app.tenants(&tenant)?;
    let limits = RequestLimits::of(app.store(), &tenants, "");
    let matchers = parse_log(params.get("query"))?.matchers;
    let Lookback::From(start) = limits.look_back(start, end, now) else {
        return Ok(json(write_patterns(&[])));
    };
    let range = TimeRange::new(start.min(end), end);
    let (store, of_tenants) = (app.store().clone(), tenants.clone());
    let work = move |turn: Turn| async move {
        let (ids, matchers) = of_tenants.choose(&matchers, TenantMatchers::Resolved);
        let mut found: Option<Patterns> = None;
        let (store, mut memory) = (store.drawing_on(turn.memory.clone()), turn.memory.reservation());
        for id in &ids {
            if turn.cancel.is_cancelled() {
                return Err(Error::Cancelled.into());
            }
            let patterns = store.patterns(id, &matchers, range, step).await?;
            memory.grow(patterns.size_bytes())?;
            match &mut found {
                Some(found) => found.merge(patterns),
                None => found = Some(patterns),
            }
        }
        Ok(found.map(Patterns::into_series).unwrap_or_default())
    };
    let series = app.queries().run(&tenants, limits.timeout(), work).await?;
    Ok(json(write_patterns(&series)))
}

fn write_patterns(series: &[PatternSeries]) -> Vec<u8> {
    let mut out = br#"{"status":"success","data":["#.to_vec();
    write_list(&mut out, series, |out, series| {
        out.extend_from_slice(br#"{"pattern":"#);
        write_string(out, series.pattern.as_bytes());
        out.extend_from_slice(br#","level":"#);
        write_string(out, series.level.as_bytes());
        out.extend_from_slice(br#","samples":["#);
        write_list(out, &series.samples, |out, (at, lines)| {
            write_display(out, format_args!("[{},{lines}]", at.0.div_euclid(NANOS_PER_SECOND)));
        });
        out.extend_from_slice(b"]}");
    });
    out.extend_from_slice(b"]}\n");
    out
}

#[cfg(test)]
mod tests {
    use loki_core::Timestamp;

    use super::*;

    #[test]
    fn patterns_are_written_with_seconds_and_counts() {
        assert_eq!(write_patterns(&[]), b"{\"status\":\"success\",\"data\":[]}\n");
        let series = |level: &str| PatternSeries {
            pattern: "a=<_> \"b\"".to_owned(),
            level: level.to_owned(),
            samples: vec![(Timestamp::from_seconds(10), 3), (Timestamp::from_seconds(20), 40)],
        };
        let body = write_patterns(&[series("info"), series("warn")]);
        assert_eq!(
            String::from_utf8_lossy(&body),
            concat!(
                r#"{"status":"success","data":[{"pattern":"a=<_> \"b\"","level":"info","samples":[[10,3],[20,40]]},"#,
                r#"{"pattern":"a=<_> \"b\"","level":"warn","samples":[[10,3],[20,40]]}]}"#,
                "\n"
            )
        );
    }
}
