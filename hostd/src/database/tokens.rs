//! Tokens: put, get all, delete.

use rusqlite::params;

use super::sandboxes::micros;
use super::{Database, DatabaseError};
use crate::tenancy::{TokenId, TokenRecord};

impl Database {
    /// Writes a new one.
    pub async fn put_token(&self, record: &TokenRecord) -> Result<(), DatabaseError> {
        let (id, created) = (record.id.to_string(), micros(record.created_at));
        let json = serde_json::to_string(record)?;
        self.call(move |connection| {
            let mut put = connection
                .prepare_cached("INSERT INTO tokens (id, created, record) VALUES (?, ?, ?)")?;
            put.execute(params![id, created, json])?;
            Ok(())
        })
        .await
    }

    /// All of them, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, DatabaseError> {
        self.call(|connection| {
            let mut all =
                connection.prepare_cached("SELECT record FROM tokens ORDER BY created, id")?;
            let rows = all.query_map([], |row| row.get::<_, String>(0))?;
            rows.map(|json| Ok(serde_json::from_str(&json?)?)).collect()
        })
        .await
    }

    /// Deletes all of these, or none.
    pub async fn delete_tokens(&self, ids: &[TokenId]) -> Result<(), DatabaseError> {
        let ids = ids.to_vec();
        self.call(move |connection| {
            let transaction = connection.transaction()?;
            for id in ids {
                transaction.execute("DELETE FROM tokens WHERE id = ?", [id.as_str()])?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }
}
