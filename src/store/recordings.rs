//! Events while they are written, and the leases of the nodes that write them.

use super::{Lease, LeftOver, Recordings, StoreError, sql::Sql};
use crate::{
    event::EventSegment,
    model::{Ending, GenerationId, NodeId},
};
use async_trait::async_trait;
use std::time::Duration;
use time::OffsetDateTime;

fn missing<T>() -> Result<T, StoreError> {
    Err(StoreError::Failed("not there yet".into()))
}

#[async_trait]
impl Recordings for Sql {
    async fn lease(&self, _: NodeId) -> Result<Option<Lease>, StoreError> {
        missing()
    }
    async fn take_lease(&self, _: NodeId, _: Duration) -> Result<Lease, StoreError> {
        missing()
    }
    async fn renew_lease(&self, _: Lease, _: Duration) -> Result<bool, StoreError> {
        missing()
    }
    async fn keep_running(&self, _: Lease, _: &[GenerationId]) -> Result<(), StoreError> {
        missing()
    }
    async fn append_events(&self, _: Lease, _: &[EventSegment]) -> Result<(), StoreError> {
        missing()
    }
    async fn events(&self, _: GenerationId, _: u64) -> Result<Vec<EventSegment>, StoreError> {
        missing()
    }
    async fn running_here(&self, _: NodeId) -> Result<Vec<GenerationId>, StoreError> {
        missing()
    }
    async fn seize_expired(&self, _: Lease) -> Result<Vec<GenerationId>, StoreError> {
        missing()
    }
    async fn runs_elsewhere(&self, _: NodeId, _: GenerationId) -> Result<bool, StoreError> {
        missing()
    }
    async fn left_over(&self, _: GenerationId) -> Result<Option<LeftOver>, StoreError> {
        missing()
    }
    async fn recover(&self, _: NodeId, _: GenerationId, _: &Ending) -> Result<bool, StoreError> {
        missing()
    }
    async fn forget_events(&self, _: OffsetDateTime) -> Result<u64, StoreError> {
        missing()
    }
}
