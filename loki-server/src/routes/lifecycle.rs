//! What will go, when and why; and what a request to delete would hide. Routes of our own.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use loki_core::Timestamp;
use loki_store::{Removal, RemovalReason, TenantId};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{RawParams, TenantHeader};
use crate::queries::RequestLimits;
use crate::response::write_rfc3339;
use crate::routes::{Routes, delete, only_get};

/// The routes of this module.
pub(crate) fn routes(app: &App) -> Routes {
    let routes = Routes::new().route("/loki_store/api/v1/retention", only_get(retention));
    if !app.config().compaction.retention_enabled {
        return routes;
    }
    routes.route("/loki_store/api/v1/delete_count", only_get(delete_count))
}

/// What the store keeps of whom for how long, and what goes next. A tenant sees objects with entries of its own, those
/// that were replaced, of which it is not known any more whose they are, and no other tenant's name.
async fn retention(State(app): State<App>, tenant: TenantHeader) -> Result<Response, ApiError> {
    let tenant = tenant.single()?;
    let status = app.store().storage_status()?;
    let limits = app.store().limits(&tenant);
    let rule = |rule: &loki_store::RetentionStream| {
        let matchers: Vec<String> = rule.matchers.iter().map(ToString::to_string).collect();
        json!({
            "selector": format!("{{{}}}", matchers.join(", ")),
            "priority": rule.priority,
            "period_seconds": rule.period.as_secs(),
        })
    };
    let level = |level: &loki_store::LevelStatus| {
        json!({
            "level": level.level,
            "segments": level.segments,
            "bytes": level.bytes,
            "entries": level.entries,
        })
    };
    let removals = status.removals.iter().filter_map(|removal| describe(removal, &tenant));
    let store = app.store().config();
    Ok(Json(json!({
        "tenant": tenant.as_str(),
        "retention_enabled": store.retention_enabled,
        "period_seconds": limits.retention_period.as_secs(),
        "streams": limits.retention_streams.iter().map(rule).collect::<Vec<_>>(),
        "space": {
            "used_bytes": status.used_bytes,
            "free_bytes": status.free_bytes,
            "excess_bytes": status.excess_bytes,
            "max_disk_bytes": store.max_disk_bytes,
            "min_free_disk_bytes": store.min_free_disk_bytes,
        },
        "levels": status.levels.iter().map(level).collect::<Vec<_>>(),
        "replaced_bytes": status.replaced_bytes,
        "removals": removals.collect::<Vec<_>>(),
    }))
    .into_response())
}

/// A removal as the tenant may see it; `None` if it is none of its concern.
fn describe(removal: &Removal, tenant: &TenantId) -> Option<Value> {
    let due = removal.due.map(moment);
    let mut described = json!({ "object": removal.object, "bytes": removal.bytes, "due": due });
    let why = match &removal.reason {
        RemovalReason::Replaced => json!({
            "reason": "replaced",
            "text": "merging, retention or lack of space took it out of use; it stays for those who still read it",
        }),
        RemovalReason::Retention { tenants, period, last, entries } if tenants.contains(tenant) => json!({
            "reason": "retention",
            "text": "all entries will be past their retention",
            "period_seconds": period.as_secs(),
            "last_entry": moment(*last),
            "entries": entries,
        }),
        RemovalReason::Space { tenants, last, entries } if tenants.contains(tenant) => json!({
            "reason": "space",
            "text": "it is the next to go, by age, when there is too little space",
            "last_entry": moment(*last),
            "entries": entries,
        }),
        _ => return None,
    };
    let (Value::Object(described), Value::Object(why)) = (&mut described, why) else {
        unreachable!("both are objects");
    };
    described.extend(why);
    Some(Value::Object(std::mem::take(described)))
}

fn moment(at: Timestamp) -> String {
    let mut text = Vec::new();
    write_rfc3339(&mut text, at);
    String::from_utf8(text).expect("times are ASCII")
}

/// How many entries a request to delete with these parameters would hide. Reads them, so that it waits for its turn and
/// has a deadline as queries do.
async fn delete_count(
    State(app): State<App>,
    tenant: TenantHeader,
    RawParams(params): RawParams,
) -> Result<Response, ApiError> {
    let (id, request) = delete::checked(&app, &tenant, &params)?;
    let tenants = app.tenants(&tenant)?;
    let timeout = RequestLimits::of(app.store(), &tenants, "").timeout();
    let store = app.store().clone();
    let work = move |_| async move { store.count_delete(&id, request).await.map_err(delete::failure) };
    let count = app.queries().run(&tenants, timeout, work).await?;
    let answer = json!({ "entries": count.entries, "line_bytes": count.line_bytes, "streams": count.streams });
    Ok(Json(answer).into_response())
}
