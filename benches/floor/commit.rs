//! Writes that become durable together: one batch is on its way to the disk, the next one gathers meanwhile.

use std::io;
use std::os::fd::BorrowedFd;

use super::clients::{Client, Clients, Id};
use super::disk::{Batch, Disk};
use ringkeeper::bench::answers::Answers;

pub struct Commit {
    disk: Disk,
    /// The batch that gathers, and who waits for it.
    batch: Batch,
    waiting: Vec<Id>,
    /// Who waits for the batch on its way.
    departed: Vec<Id>,
    /// The other batch, while none is on its way.
    spare: Option<Batch>,
}

impl Commit {
    pub fn new(disk: Disk) -> Commit {
        Commit { disk, batch: Batch::new(), waiting: Vec::new(), departed: Vec::new(), spare: Some(Batch::new()) }
    }

    /// Readable when `land` has something to do.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.disk.bell()
    }

    /// Answers what a client has sent; false if that was no request.
    pub fn take<L>(&mut self, id: Id, client: &mut Client<L>, bytes: &[u8], answers: &Answers) -> bool {
        match client.take(bytes, answers, &mut self.batch) {
            Some(true) => self.waiting.push(id),
            Some(false) => {}
            None => return false,
        }
        true
    }

    /// Sends the gathered batch on its way if none is. Clients that need not wait any longer go to `dirty`.
    ///
    /// When every client there is waits for it, this thread writes it: nobody is left to be served meanwhile, and the
    /// other thread would cost two switches.
    pub fn depart<L>(&mut self, clients: &mut Clients<L>, dirty: &mut Vec<Id>) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let Some(spare) = self.spare.take() else { return Ok(()) };
        let batch = std::mem::replace(&mut self.batch, spare);
        std::mem::swap(&mut self.waiting, &mut self.departed);
        for id in &self.departed {
            if let Some(client) = clients.get(*id) {
                client.depart();
            }
        }
        if self.departed.len() == clients.open() {
            self.spare = Some(self.disk.write(batch)?);
            self.release(clients, dirty);
            return Ok(());
        }
        self.disk.hand_over(batch)
    }

    /// Takes note of a batch that is durable. Clients whose replies may go now go to `dirty`.
    pub fn land<L>(&mut self, clients: &mut Clients<L>, dirty: &mut Vec<Id>) -> io::Result<()> {
        if let Some(batch) = self.disk.take()? {
            self.spare = Some(batch);
            self.release(clients, dirty);
        }
        Ok(())
    }

    fn release<L>(&mut self, clients: &mut Clients<L>, dirty: &mut Vec<Id>) {
        for id in self.departed.drain(..) {
            if let Some(client) = clients.get(id) {
                client.land();
                dirty.push(id);
            }
        }
    }
}
