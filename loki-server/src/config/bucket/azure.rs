//! Azure Blob Storage as Loki's keys describe it.

use loki_store::bucket::{AzureContainer, AzureCredentials, Connection, Secret};

use super::Block;
use crate::config::check::Problem;

/// The container of Loki's newer dialect, which has no default of its own.
const DEFAULT_CONTAINER: &str = "loki";

/// What a connection string says.
#[derive(Default)]
struct ConnectionString {
    account: String,
    key: Option<Secret>,
    endpoint: String,
}

pub(super) fn read(
    block: Block<'_>,
    connection: &mut Connection,
    problems: &mut Vec<Problem>,
) -> Option<AzureContainer> {
    connection.max_retries = block.settings.count(&block.path_of("max_retries"));
    if !block.is_thanos {
        connection.first_pause = block.settings.duration(&block.path_of("min_retry_delay"));
        connection.max_pause = block.settings.duration(&block.path_of("max_retry_delay"));
    }
    let name = Some(block.text("container_name")).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| DEFAULT_CONTAINER.to_owned());
    let text = block.text("connection_string");
    if !text.is_empty() {
        let Some(ConnectionString { account, key: Some(key), endpoint }) = parse(&text) else {
            problems.push(block.wrong("connection_string", "must name AccountName and AccountKey"));
            return None;
        };
        return Some(AzureContainer { account, name, endpoint, credentials: AzureCredentials::AccountKey(key) });
    }
    let account = block.required("account_name", problems)?;
    let suffix = block.text("endpoint_suffix");
    let endpoint = if suffix.is_empty() { String::new() } else { endpoint("https", &account, &suffix) };
    let credentials = credentials(block, problems)?;
    Some(AzureContainer { account, name, endpoint, credentials })
}

fn credentials(block: Block<'_>, problems: &mut Vec<Problem>) -> Option<AzureCredentials> {
    let user_assigned = Some(block.text("user_assigned_id")).filter(|id| !id.is_empty());
    if let Some(key) = block.secret("account_key") {
        return Some(AzureCredentials::AccountKey(key));
    }
    if block.is_thanos {
        return Some(match user_assigned {
            Some(id) => AzureCredentials::ManagedIdentity { client_id: Some(id) },
            None => AzureCredentials::Environment,
        });
    }
    if block.bool("use_service_principal") {
        let client_id = block.required("client_id", problems)?;
        let client_secret = Secret::new(block.required("client_secret", problems)?);
        let tenant_id = block.required("tenant_id", problems)?;
        return Some(AzureCredentials::ServicePrincipal { client_id, client_secret, tenant_id });
    }
    if block.bool("use_managed_identity") {
        return Some(AzureCredentials::ManagedIdentity { client_id: user_assigned });
    }
    // A federated token is what the environment names.
    Some(AzureCredentials::Environment)
}

fn endpoint(scheme: &str, account: &str, suffix: &str) -> String {
    format!("{scheme}://{account}.{}", suffix.trim_start_matches('.'))
}

/// `AccountName=a;AccountKey=k;EndpointSuffix=core.windows.net`; `None` when it is not pairs or names no account.
fn parse(text: &str) -> Option<ConnectionString> {
    let mut parsed = ConnectionString::default();
    let (mut scheme, mut suffix) = ("https", "");
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("AccountName", value) => value.clone_into(&mut parsed.account),
            ("AccountKey", value) => parsed.key = Some(Secret::new(value)),
            ("BlobEndpoint", value) => value.clone_into(&mut parsed.endpoint),
            ("DefaultEndpointsProtocol", value) => scheme = value,
            ("EndpointSuffix", value) => suffix = value,
            _ => {}
        }
    }
    if parsed.endpoint.is_empty() && !suffix.is_empty() {
        parsed.endpoint = endpoint(scheme, &parsed.account, &format!("blob.{suffix}"));
    }
    (!parsed.account.is_empty()).then_some(parsed)
}
