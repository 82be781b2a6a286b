//! The runtime files: limits by tenant that change while the server runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loki_store::TenantId;

use crate::config::check::{self, Problem};
use crate::config::limits::TenantLimits;
use crate::config::yaml::{self, Node, Value};

/// Blocks of a runtime file that have no effect here.
const IDLE_BLOCKS: [&str; 2] = ["configs", "multi_kv_config"];
const OVERRIDES: &str = "overrides";

/// The limits of every tenant at one moment.
#[derive(Clone, Debug)]
pub struct LimitsTable {
    defaults: Arc<TenantLimits>,
    overrides: HashMap<String, Arc<TenantLimits>>,
}

/// Why the runtime files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file is wrong.
    #[error("{}: {}", path.display(), first(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        problems: Vec<Problem>,
    },
}

fn first(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl LimitsTable {
    /// The same limits for everybody.
    pub fn uniform(defaults: TenantLimits) -> Self {
        Self { defaults: Arc::new(defaults), overrides: HashMap::new() }
    }

    /// Reads the overrides in `files` on top of `defaults`; what a later file says about a key wins.
    pub fn load(defaults: &TenantLimits, files: &[PathBuf]) -> Result<Self, RuntimeError> {
        let mut table = Self::uniform(defaults.clone());
        for path in files {
            let text =
                std::fs::read_to_string(path).map_err(|source| RuntimeError::Read { path: path.clone(), source })?;
            table.apply(path, &text)?;
        }
        Ok(table)
    }

    /// The limits of a tenant.
    pub fn tenant(&self, tenant: &TenantId) -> &Arc<TenantLimits> {
        self.overrides.get(tenant.as_str()).unwrap_or(&self.defaults)
    }

    fn apply(&mut self, path: &Path, text: &str) -> Result<(), RuntimeError> {
        let invalid = |problems| RuntimeError::Invalid { path: path.to_owned(), problems };
        let root = yaml::parse(text).map_err(|error| invalid(vec![Problem::Syntax(error.to_string())]))?;
        let tenants = tenants(&root).map_err(invalid)?;
        let mut problems = Vec::new();
        for entry in tenants {
            let base = self.overrides.get(&entry.key).unwrap_or(&self.defaults);
            match base.with_overrides(&entry.node, &format!("{OVERRIDES}.{}", entry.key)) {
                Ok(limits) => {
                    self.overrides.insert(entry.key.clone(), Arc::new(limits));
                }
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(invalid(problems)) }
    }
}

fn tenants(root: &Node) -> Result<&[yaml::Entry], Vec<Problem>> {
    let entries = match &root.value {
        Value::Null => return Ok(&[]),
        Value::Map(entries) => entries,
        _ => return Err(vec![check::invalid(&root.origin, "runtime file", "must be a block of keys")]),
    };
    let unknown = |entry: &&yaml::Entry| entry.key != OVERRIDES && !IDLE_BLOCKS.contains(&entry.key.as_str());
    let problems: Vec<_> = entries
        .iter()
        .filter(unknown)
        .map(|entry| Problem::UnknownKey { origin: entry.origin.to_string(), path: entry.key.clone(), nearest: None })
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(root.get(OVERRIDES).map_or(&[], Node::entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a valid id")
    }

    #[test]
    fn later_files_win_key_by_key() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let one = write(
            "1.yaml",
            "overrides:\n  a: {max_query_series: 1, max_line_size: 1KB}\nconfigs: {a: {log_push_request: true}}\n",
        );
        let two = write("2.yaml", "overrides:\n  a: {max_query_series: 2}\n");
        let table = LimitsTable::load(&Config::bare().limits, &[one, two]).expect("valid");
        let limits = &table.tenant(&tenant("a")).limits;
        assert_eq!((limits.max_query_series, limits.max_line_bytes), (2, 1024));
        assert_eq!(table.tenant(&tenant("b")).limits.max_query_series, 500);
    }

    #[test]
    fn a_bad_file_is_refused_with_everything_that_is_wrong() {
        let mut table = LimitsTable::uniform(Config::bare().limits);
        let error = table
            .apply(Path::new("o.yaml"), "overrides:\n  a: {max_line_siz: 1}\n  b: {max_line_size: x}\n")
            .expect_err("two mistakes");
        assert_eq!(
            error.to_string(),
            "o.yaml: line 2: unknown key overrides.a.max_line_siz, did you mean max_line_size?; \
             line 3: overrides.b.max_line_size must be a size such as 512KB or 4MB"
        );
        assert!(table.apply(Path::new("o.yaml"), "override: {}\n").is_err());
        assert!(table.apply(Path::new("o.yaml"), "").is_ok());
    }
}
