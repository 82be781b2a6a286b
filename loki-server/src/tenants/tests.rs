use std::sync::Arc;

use futures::StreamExt;
use http::HeaderMap;
use loki_core::{Direction, Entry, MatchOp, TimeRange, Timestamp};
use loki_logql::memory::MemoryQuerier;
use loki_logql::querier::{Hints, Order, SelectRequest};

use super::*;
use crate::extract::TENANT_HEADER;

fn tenants(header: &str) -> Result<Tenants, TenantError> {
    let mut headers = HeaderMap::new();
    headers.insert(TENANT_HEADER, header.parse().expect("a header value"));
    Tenants::of(&TenantHeader::from_headers(&headers, true)?)
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).expect("a valid regex")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).expect("distinct names")
}

#[test]
fn a_repeated_tenant_is_one_and_an_empty_one_makes_several() {
    let joined = |header| tenants(header).map(|tenants| (tenants.joined(), tenants.are_several()));
    assert_eq!(joined("a|a"), Ok(("a".to_owned(), false)));
    assert_eq!(joined("b|a"), Ok(("a|b".to_owned(), true)));
    assert_eq!(joined("|a"), Ok(("a".to_owned(), true)));
    assert_eq!(joined("|"), Err(TenantError::Missing));
    assert_eq!(joined("a|.."), Err(TenantError::PathSegment));
}

#[test]
fn matchers_of_the_tenant_choose_and_are_removed_except_for_samples() {
    let both = tenants("a|b").expect("valid");
    let matchers = [matcher(TENANT_LABEL, MatchOp::NotEqual, "a"), matcher(ORIGINAL_LABEL, MatchOp::Equal, "x")];
    let (ids, resolved) = both.choose(&matchers, TenantMatchers::Resolved);
    assert_eq!(ids.iter().map(TenantId::as_str).collect::<Vec<_>>(), ["b"]);
    assert_eq!(resolved, [matcher(TENANT_LABEL, MatchOp::Equal, "x")]);
    let (ids, kept) = both.choose(&matchers, TenantMatchers::Kept);
    assert_eq!(ids.len(), 1);
    assert_eq!(kept, matchers);
    let one = tenants("a").expect("valid");
    assert_eq!(one.choose(&matchers, TenantMatchers::Resolved), (one.ids().to_vec(), matchers.to_vec()));
}

#[test]
fn a_label_of_the_tenants_name_moves_out_of_the_way() {
    let both = tenants("a|b").expect("valid");
    let shown = both.shown(&both.ids()[1], &labels(&[(TENANT_LABEL, "orig"), ("app", "x"), ("zone", "z")]));
    let expected = labels(&[(TENANT_LABEL, "b"), ("app", "x"), (ORIGINAL_LABEL, "orig"), ("zone", "z")]);
    assert_eq!(shown, expected);
}

#[test]
fn names_outside_of_pipelines_mean_the_tenant() {
    let renamed = |query| {
        let mut expr = loki_logql::parse(query).expect("valid");
        rename_expr(&mut expr);
        expr.to_string().replace(rename::TAG_LABEL, "TAG")
    };
    assert_eq!(
        renamed(r#"sum by (__tenant_id__,original___tenant_id__)(rate({a="b"} | __tenant_id__="x" | keep a [1m]))"#),
        r#"sum by (TAG,__tenant_id__)(rate({a="b"} | __tenant_id__="x" | keep a,TAG[1m]))"#,
    );
}

#[test]
fn batches_of_tenants_come_in_the_order_of_time_with_tagged_streams() {
    let entry = |nanos| Entry { timestamp: Timestamp(nanos), line: "x".into(), metadata: Labels::EMPTY };
    let part = |id: &str, times: &[i64]| {
        let mut querier = MemoryQuerier::new();
        for &time in times {
            querier.push(&labels(&[("n", &time.to_string())]), entry(time));
        }
        (TenantId::parse(id).expect("valid"), Arc::new(querier) as Arc<dyn Querier>)
    };
    let querier = TenantsQuerier {
        tenants: tenants("a|b").expect("valid"),
        queriers: vec![part("a", &[1, 5, 6]), part("b", &[2, 4, 9])],
        mode: TenantMatchers::Resolved,
    };
    let select = |direction| {
        let request = SelectRequest {
            matchers: vec![],
            range: TimeRange::new(Timestamp(0), Timestamp(100)),
            order: Order::Time(direction),
            hints: Hints::default(),
        };
        let batches: Vec<_> = futures::executor::block_on(querier.select(request).collect());
        let show = |labels: &Labels| {
            let shown = shown_labels(labels);
            format!("{}{}", shown.get(TENANT_LABEL).unwrap_or("?"), shown.get("n").unwrap_or("?"))
        };
        batches.iter().map(|batch| show(&batch.as_ref().expect("memory").runs[0].labels)).collect::<Vec<_>>()
    };
    assert_eq!(select(Direction::Forward), ["a1", "b2", "b4", "a5", "a6", "b9"]);
    assert_eq!(select(Direction::Backward), ["b9", "a6", "a5", "b4", "b2", "a1"]);
}
