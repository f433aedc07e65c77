//! What a member's reader of stretches does, a step at a time, while everything else goes on.

use super::machine::{Machine, MemberMedia};
use super::member::Member;
use super::world::{Cluster, News};
use crate::base::LinkId;
use crate::replica::{Stretch, StretchEffect};

impl<M: Machine> Cluster<M> {
    pub(super) fn stretch_effect(&mut self, member: usize, effect: StretchEffect) {
        self.note(|| format!("member {member}: {effect:?}"));
        let stretches = &mut self.members[member].stretches;
        let link = match effect {
            StretchEffect::Read(order) => {
                let link = order.link;
                stretches.insert(link, Stretch::new(order));
                link
            }
            StretchEffect::ReadOn { link } => {
                if let Some(stretch) = stretches.get_mut(&link) {
                    stretch.read_on();
                }
                link
            }
            StretchEffect::Forget { link } => {
                stretches.remove(&link);
                return;
            }
        };
        let latency = self.disk_latency(member);
        self.plan_member(member, latency, News::StretchSteps(link));
    }

    pub(super) fn stretch_steps(&mut self, member: usize, link: LinkId) -> Result<(), String> {
        let Member { disk, epochs, stretches, .. } = &mut self.members[member];
        let Some(stretch) = stretches.get_mut(&link) else { return Ok(()) };
        let news = stretch.step(&MemberMedia { disk, epochs });
        if stretch.is_busy() {
            let latency = self.disk_latency(member);
            self.plan_member(member, latency, News::StretchSteps(link));
        } else if stretch.is_over() {
            stretches.remove(&link);
        }
        match news {
            Some(news) => self.replica_turn(member, |machine, now, out| {
                machine.on_stretch(news, now, out);
                machine.on_turn_end(now, out);
            }),
            None => Ok(()),
        }
    }
}
