//! TLS and SASL to a real Apache Kafka, certificates to a real PostgreSQL.

use crate::table::Table;

/// Adds its rows.
pub(crate) async fn run(table: &mut Table) {
    table.skip("secured", "everything", "not written yet");
}
