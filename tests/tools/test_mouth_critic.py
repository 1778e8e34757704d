"""The critic that the demo generator is trained with asks for sharp mouths that say what they should."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools.mouth_critic import MouthCritic
from tests.talkers import speaking

STEPS = 80


def blurred(faces: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(faces, (3, 3, 3, 3), mode="replicate"), 7, 1)


@lru_cache
def taught() -> tuple[MouthCritic, Tensor, Tensor]:
    """A critic that has seen a mouth in sixteen positions, sharp and blurred; the faces and how far each is open."""
    torch.manual_seed(0)
    openings = torch.linspace(0, 1, 16)
    faces = speaking(openings)
    critic = MouthCritic(1)
    optimizer = torch.optim.AdamW(critic.parameters(), 2e-3, betas=(0.5, 0.99))
    for _ in range(STEPS):
        loss = critic.own_loss(faces, blurred(faces), openings[:, None], torch.ones(16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return critic, faces, openings


def test_it_reads_mouths_and_prefers_sharp_ones() -> None:
    critic, faces, openings = taught()
    with torch.no_grad():
        real, read, _ = critic(faces)
        fake, _, _ = critic(blurred(faces))
    assert float(real.mean() - fake.mean()) > 1  # of the 2 at which the hinge loss is content
    correlation = torch.corrcoef(torch.stack((read[:, 0], openings)))[0, 1]
    assert float(correlation) > 0.9  # eighty steps on one face


def test_its_pull_is_as_long_as_that_of_l1_and_improves_what_it_reads() -> None:
    critic, faces, openings = taught()
    generated = blurred(faces.flip(0)).requires_grad_()  # each says what another should
    l1 = (generated - faces).abs().mean()
    (own,) = torch.autograd.grad(l1, generated, retain_graph=True)
    (pull,) = torch.autograd.grad(critic.pull(l1, generated, faces), generated)
    torch.testing.assert_close(pull.flatten(1).norm(dim=1), own.flatten(1).norm(dim=1))
    assert not pull[:, :, :30].any()  # the eyes are not its business
    with torch.no_grad():
        step = 0.02 * pull / pull.abs().amax(dim=(1, 2, 3), keepdim=True)
        (before, read, _), (after, reread, _) = critic(generated), critic(generated - step)
        target = critic(faces)[1]
    assert float(after.mean()) > float(before.mean())
    assert float((reread - target).abs().mean()) < float((read - target).abs().mean())


def test_unknown_mouths_teach_it_nothing() -> None:
    torch.manual_seed(0)
    critic, faces = MouthCritic(4).eval(), torch.rand(2, 3, 96, 96)  # eval: the spectral norms stay as they are
    losses = [
        critic.own_loss(faces, faces, torch.full((2, 4), value), torch.tensor([0.0, 0.0])).item()
        for value in (0.0, 9.0)
    ]
    assert losses[0] == losses[1]
