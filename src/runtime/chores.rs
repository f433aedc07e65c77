//! Everything of the disk's work that may take its time: new segments, snapshots, deletions. A task in the background
//! queue takes it from the [`DiskPort`] and has it done by a blocking thread of glommio's.

use std::rc::Rc;

use super::disk::{DiskNews, DiskPort, DiskSettings};
use super::files::{DataDirs, plain_words};
use super::journal_file::prepare_segment;
use super::snapshot_file::SnapshotFile;
use crate::base::Zxid;
use crate::journal::DiskEffect;

/// Never ends by itself.
pub async fn do_chores(port: Rc<DiskPort>, settings: DiskSettings) {
    let mut snapshot: Option<SnapshotFile> = None;
    loop {
        let chore = port.next_chore().await;
        do_chore(&port, &settings, chore, &mut snapshot).await;
        port.chore_done();
    }
}

async fn do_chore(port: &DiskPort, settings: &DiskSettings, chore: DiskEffect, snapshot: &mut Option<SnapshotFile>) {
    match chore {
        DiskEffect::WriteBatch(_) => unreachable!("batches go to the writer"),
        DiskEffect::PrepareSegment { segment, bytes, recycle } => {
            let path = settings.dirs.segment_path(segment);
            let old = recycle.map(|old| settings.dirs.segment_path(old));
            let what = format!("cannot prepare {}", path.display());
            let force_sync = settings.force_sync;
            let pace = port.pace();
            match blocking(move || prepare_segment(&path, bytes, old.as_deref(), force_sync, &pace)).await {
                Ok(()) => port.tell(DiskNews::SegmentReady(segment)),
                Err(error) => port.tell(DiskNews::Failed(format!("{what}: {}", plain_words(&error)))),
            }
        }
        DiskEffect::DeleteSegment(segment) => delete(settings.dirs.segment_path(segment)).await,
        DiskEffect::DeleteSnapshot(zxid) => delete(settings.dirs.snapshot_path(zxid)).await,
        DiskEffect::SetAsideSegment(segment) => set_aside(settings.dirs.segment_path(segment)).await,
        DiskEffect::SetAsideSnapshot(zxid) => set_aside(settings.dirs.snapshot_path(zxid)).await,
        DiskEffect::SnapshotOpen { zxid } => {
            let path = settings.dirs.snapshot_path(zxid);
            let opened = blocking(move || SnapshotFile::create(zxid, path)).await;
            *snapshot = keep(port, zxid, opened, DiskNews::SnapshotReady);
        }
        DiskEffect::SnapshotChunk { bytes } => {
            // After a failure there is none, and the replica has been told.
            let Some(file) = snapshot.take() else { return };
            let zxid = file.zxid();
            let written = blocking(move || file.append(&bytes)).await;
            *snapshot = keep(port, zxid, written, DiskNews::SnapshotReady);
        }
        DiskEffect::SnapshotClose { zxid } => {
            let Some(file) = snapshot.take() else { return };
            let closed = blocking(move || file.finish()).await;
            keep(port, zxid, closed, DiskNews::SnapshotWritten(zxid));
        }
        DiskEffect::SnapshotAbort { .. } => {
            if let Some(file) = snapshot.take() {
                blocking(move || file.discard()).await;
            }
        }
    }
}

fn keep<T>(port: &DiskPort, zxid: Zxid, result: std::io::Result<T>, news: DiskNews) -> Option<T> {
    match result {
        Ok(value) => {
            port.tell(news);
            Some(value)
        }
        Err(error) => {
            port.tell(DiskNews::SnapshotFailed(zxid, plain_words(&error)));
            None
        }
    }
}

async fn delete(path: std::path::PathBuf) {
    let name = path.display().to_string();
    if let Err(error) = blocking(move || std::fs::remove_file(path)).await {
        tracing::warn!(file = name, %error, "cannot delete a file that is no longer needed");
    }
}

async fn set_aside(path: std::path::PathBuf) {
    let (name, aside) = (path.display().to_string(), DataDirs::set_aside(&path));
    match blocking(move || std::fs::rename(path, aside)).await {
        Ok(()) => tracing::warn!(file = name, "set aside as *.damaged: delete it when nobody wants to look at it"),
        Err(error) => tracing::warn!(file = name, %error, "cannot set a file aside that is no longer needed"),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(work).await
}
