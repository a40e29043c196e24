//! The sandboxes' records: put, get, page through, prune.

use std::collections::BTreeMap;
use std::time::SystemTime;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};

use super::{Database, DatabaseError};
use crate::id::SandboxId;
use crate::sandbox::record::{Record, State};
use crate::tenancy::Organisation;

/// Of a page's records as they are stored, which is no shorter than they are on the wire, where a page has to fit one message
/// of 4 MiB: consoles of failed sandboxes are long.
const MAX_PAGE_BYTES: usize = 2 << 20;

/// Which records a list is of.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// All must be there with these values.
    pub labels: BTreeMap<String, String>,
    /// Empty: those that have not ended.
    pub states: Vec<State>,
    /// Absent: of everybody.
    pub organisation: Option<Organisation>,
}

/// Where a list goes on: after this record, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the last record given was made, in microseconds since 1970.
    pub created: i64,
    /// Its id, for those of the same instant.
    pub id: SandboxId,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// Newest first.
    pub records: Vec<Record>,
    /// Absent on the last page.
    pub next: Option<Cursor>,
}

impl Database {
    /// Writes a record over its predecessor.
    pub async fn put_sandbox(&self, record: &Record) -> Result<(), DatabaseError> {
        let row = params_from_iter([
            Value::Text(record.id.to_string()),
            Value::Integer(micros(record.created_at)),
            record
                .ended_at
                .map_or(Value::Null, |at| Value::Integer(micros(at))),
            Value::Text(record.phase.state().name().to_owned()),
            Value::Text(serde_json::to_string(&record.labels)?),
            Value::Text(serde_json::to_string(record)?),
            (record.organisation.clone()).map_or(Value::Null, |name| Value::Text(name.into())),
        ]);
        self.call(move |connection| {
            let mut put = connection.prepare_cached(
                "INSERT INTO sandboxes (id, created, ended, state, labels, record, organisation) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, state = excluded.state, record = excluded.record",
            )?;
            put.execute(row)?;
            Ok(())
        })
        .await
    }

    /// One record, living or ended.
    pub async fn sandbox(&self, id: SandboxId) -> Result<Option<Record>, DatabaseError> {
        self.call(move |connection| {
            let mut get = connection.prepare_cached("SELECT record FROM sandboxes WHERE id = ?")?;
            let json: Option<String> = get.query_row([id.as_str()], |row| row.get(0)).optional()?;
            Ok(json.map(|json| serde_json::from_str(&json)).transpose()?)
        })
        .await
    }

    /// Every record that has not ended.
    pub async fn living_sandboxes(&self) -> Result<Vec<Record>, DatabaseError> {
        self.call(|connection| {
            let mut living =
                connection.prepare_cached("SELECT record FROM sandboxes WHERE ended IS NULL")?;
            let rows = living.query_map([], |row| row.get::<_, String>(0))?;
            rows.map(|json| Ok(serde_json::from_str(&json?)?)).collect()
        })
        .await
    }

    /// A page of at most `size` records that match, after `after`.
    pub async fn list_sandboxes(
        &self,
        filter: Filter,
        after: Option<Cursor>,
        size: usize,
    ) -> Result<Page, DatabaseError> {
        self.call(move |connection| {
            let (sql, values) = query(&filter, after.as_ref(), size);
            let mut list = connection.prepare_cached(&sql)?;
            let rows = list.query_map(params_from_iter(values), |row| row.get::<_, String>(0))?;
            let (mut records, mut bytes, mut more) = (Vec::new(), 0, false);
            for json in rows {
                let json = json?;
                bytes += json.len();
                // One more than asked for is read, to know whether there is another page.
                if records.len() == size || (bytes > MAX_PAGE_BYTES && !records.is_empty()) {
                    more = true;
                    break;
                }
                records.push(serde_json::from_str::<Record>(&json)?);
            }
            let next = records.last().filter(|_| more).map(|last| Cursor {
                created: micros(last.created_at),
                id: last.id.clone(),
            });
            Ok(Page { records, next })
        })
        .await
    }

    /// Forgets records that ended before `before`, and of each organisation the oldest beyond `most`. Returns how many.
    pub async fn prune_sandboxes(
        &self,
        before: SystemTime,
        most: usize,
    ) -> Result<usize, DatabaseError> {
        self.call(move |connection| {
            let old = connection.execute("DELETE FROM sandboxes WHERE ended < ?", [micros(before)])?;
            let many = connection.execute(
                "DELETE FROM sandboxes WHERE id IN (SELECT id FROM
                   (SELECT id, ROW_NUMBER() OVER (PARTITION BY organisation ORDER BY ended DESC, id DESC) AS place
                    FROM sandboxes WHERE ended IS NOT NULL)
                 WHERE place > ?)",
                params![most as i64],
            )?;
            Ok(old + many)
        })
        .await
    }
}

fn query(filter: &Filter, after: Option<&Cursor>, size: usize) -> (String, Vec<Value>) {
    let mut sql = String::from("SELECT record FROM sandboxes WHERE ");
    let mut values = Vec::new();
    if filter.states.is_empty() {
        sql.push_str("ended IS NULL");
    } else {
        let marks = vec!["?"; filter.states.len()].join(", ");
        sql.push_str(&format!("state IN ({marks})"));
        values.extend(
            filter
                .states
                .iter()
                .map(|state| Value::Text(state.name().to_owned())),
        );
    }
    if let Some(organisation) = &filter.organisation {
        sql.push_str(" AND organisation = ?");
        values.push(Value::Text(organisation.to_string()));
    }
    for (key, value) in &filter.labels {
        sql.push_str(" AND EXISTS (SELECT 1 FROM json_each(labels) AS label WHERE label.key = ? AND label.value = ?)");
        values.push(Value::Text(key.clone()));
        values.push(Value::Text(value.clone()));
    }
    if let Some(cursor) = after {
        sql.push_str(" AND (created, id) < (?, ?)");
        values.push(Value::Integer(cursor.created));
        values.push(Value::Text(cursor.id.to_string()));
    }
    sql.push_str(" ORDER BY created DESC, id DESC LIMIT ?");
    values.push(Value::Integer(
        i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1),
    ));
    (sql, values)
}

pub(super) fn micros(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sandbox::record::{CONSOLE_TAIL_BYTES, Failure, FailureReason, Phase};

    fn failed(second: u64) -> Record {
        let created_at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        Record {
            id: SandboxId::generate(),
            phase: Phase::Failed(Failure {
                reason: FailureReason::GuestReset,
                message: String::new(),
                console_tail: "x".repeat(CONSOLE_TAIL_BYTES),
            }),
            labels: BTreeMap::new(),
            organisation: None,
            vcpus: 1,
            memory_bytes: 64 << 20,
            snapshot_id: None,
            image: "tiny".into(),
            epoch: None,
            created_at,
            ended_at: Some(created_at),
            expires_at: None,
            stages: Vec::new(),
            revision: 0,
        }
    }

    #[tokio::test]
    async fn long_records_make_short_pages_and_none_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("db")).unwrap();
        for second in 0..300 {
            database.put_sandbox(&failed(second)).await.unwrap();
        }
        let (mut seen, mut after) = (0, None);
        loop {
            let filter = Filter {
                states: vec![State::Failed],
                ..Default::default()
            };
            let page = database.list_sandboxes(filter, after, 1000).await.unwrap();
            assert!(page.records.len() <= MAX_PAGE_BYTES / CONSOLE_TAIL_BYTES);
            seen += page.records.len();
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, 300);
    }

    #[tokio::test]
    async fn of_each_organisation_the_latest_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("db")).unwrap();
        let owners: [Option<Organisation>; 2] = [None, Some("acme".parse().unwrap())];
        let mut kept = Vec::new();
        for (owner, count) in owners.into_iter().zip([2, 5]) {
            for second in 0..count {
                let record = Record {
                    organisation: owner.clone(),
                    ..failed(second)
                };
                database.put_sandbox(&record).await.unwrap();
                if count - second <= 3 {
                    kept.push(record.id);
                }
            }
        }
        let pruned = database.prune_sandboxes(SystemTime::UNIX_EPOCH, 3).await;
        assert_eq!(pruned.unwrap(), 2);
        for id in kept {
            assert!(database.sandbox(id).await.unwrap().is_some());
        }
    }
}
