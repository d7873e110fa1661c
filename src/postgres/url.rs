//! What a connection URL says, changed without understanding the rest of it.

/// The same server's URL with another database.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let host = address.find("://").map_or(0, |scheme| scheme + "://".len());
    let server = address[host..].find('/').map_or(address, |path| &address[..host + path]);
    query.map_or_else(|| format!("{server}/{name}"), |query| format!("{server}/{name}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_changes() {
        for (url, changed) in [
            ("postgres://me@localhost:5432/postgres?host=/tmp/a", "postgres://me@localhost:5432/x?host=/tmp/a"),
            ("postgres://me:secret@db.example/old", "postgres://me:secret@db.example/x"),
            ("postgresql://localhost", "postgresql://localhost/x"),
            ("postgresql:///old?host=/run/a&user=me", "postgresql:///x?host=/run/a&user=me"),
        ] {
            assert_eq!(with_database(url, "x"), changed);
        }
    }
}
