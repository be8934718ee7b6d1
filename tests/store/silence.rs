//! A database whose connections die without a word, as behind a firewall that forgot them or after its address moved.
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

use crate::database::with_database;
use continuo::store::*;
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes connections on to a server, until they are silenced: they stay open then, and nothing moves on them any more. Later ones work.
struct Line {
    address: SocketAddr,
    silenced: Arc<watch::Sender<u64>>,
}

impl Line {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silenced = Arc::new(watch::Sender::new(0));
        let line = silenced.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut silenced = line.subscribe();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = silenced.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, silenced }
    }

    fn silence(&self) {
        self.silenced.send_modify(|times| *times += 1);
    }
}

/// Somebody waits for the lock.
const WAITS: &str =
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass)";

#[tokio::test]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn a_connection_that_dies_in_silence_while_it_is_used_gives_its_place_back() {
    with_database(async |url| {
        let place = url.rsplit('@').next().unwrap().split('/').next().unwrap();
        let server = tokio::net::lookup_host(place)
            .await
            .unwrap()
            .next()
            .unwrap();
        let line = Line::to(server).await;
        let through = url.replace(place, &line.address.to_string());
        let one_connection = StoreOptions {
            connections: 1,
            ..StoreOptions::default()
        };
        let store = open(&through, &one_connection).await.unwrap();
        let mut other = PgConnection::connect(&url).await.unwrap();
        other.execute("BEGIN; LOCK TABLE users").await.unwrap();
        let asking = tokio::spawn({
            let store = store.clone();
            async move { store.check().await }
        });
        while !sqlx::query_scalar::<_, bool>(WAITS)
            .fetch_one(&mut other)
            .await
            .unwrap()
        {
            tokio::task::yield_now().await;
        }
        line.silence();
        other.execute("ROLLBACK").await.unwrap();
        // Nothing is to come, so that the clock runs ahead to every deadline.
        tokio::time::pause();
        assert!(matches!(
            asking.await.unwrap(),
            Err(StoreError::Unavailable(_))
        ));
        tokio::time::sleep(Duration::from_mins(1)).await;
        tokio::time::resume();
        store.check().await.unwrap();
        store.close().await;
    })
    .await;
}
