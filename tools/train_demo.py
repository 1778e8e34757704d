"""Train the small generator that ships, on GRID clips and on still faces made to speak.

    python -m gpu_lipsync.tools.demo_material --clips FOLDER --stills FOLDER --speech FOLDER --out material.pt
    python -m gpu_lipsync.tools.train_demo --material material.pt --out runs/demo

Seeded, resumes from --out, on a CPU or CUDA. Writes state.pt, demo.safetensors (averaged weights), log.jsonl, loss.png
and faces.png (reference, target, result). First the sound's encoder alone learns the mouth parameters, in minutes: a
generator that starts deaf learns to ignore the sound. Then the whole generator. `average_generators` takes the mean of
files that a run has left; `retrain_hearing` teaches a finished generator more voices.

Reference: arXiv 2008.10010; L1 as there, weighted to the mouth, with edges; the sync expert gives way to known mouths.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from gpu_lipsync.device import network_dtype
from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools.demo_batches import Batch, BatchMaker, loss_weights
from gpu_lipsync.tools.demo_report import draw_faces, draw_losses
from gpu_lipsync.tools.generator_file import start_from
from gpu_lipsync.tools.mouth_critic import MouthCritic

N_PARAMETERS = 4  # of a mouth
FRAME_MOMENT = 1  # of them, the one that the picture shows
N_MOMENTS = 4  # around the frame, whose mouths the sound's encoder must tell
EMA_EVERY = 5
COLOUR_MEAN, COLOUR_STD = 0.42, 0.24  # of the pictures
COPY_SLOPE = 4.5  # of the logit over the colour: the sigmoid is nearly straight
SMALL_FACES = {"12": 3, "24": 4, "48": 5}  # size in px: block of the decoder
CRITIC_RATE = 0.4  # of the generator's learning rate
COPYING_WEIGHT = 100.0  # at the mouth, a difference of 0.1 from the reference counts eleven times


def conv_of(block: nn.Module) -> nn.Conv2d:
    """The convolution of one of the generator's blocks."""
    conv = block.get_submodule("conv_block.0")
    assert isinstance(conv, nn.Conv2d)
    return conv


class Learner(nn.Module):
    """The generator with heads that are thrown away.

    They tell the mouth parameters from the sound's code, and the face at 12, 24 and 48 px from within the decoder:
    there the sound is near and a mouth is a few pixels.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        self.generator = Wav2Lip(width)
        self._seen: dict[str, Tensor] = {}
        code = self.generator.audio_encoder[-1]
        self.to_mouth = nn.Linear(conv_of(code).out_channels, N_MOMENTS * N_PARAMETERS)
        code.register_forward_hook(lambda _module, _inputs, out: self._seen.update(code=out))
        self.to_small_face = nn.ModuleDict()
        for size, index in SMALL_FACES.items():
            block = self.generator.face_decoder_blocks.get_submodule(str(index))
            *_, last = block.children()
            self.to_small_face[size] = nn.Conv2d(conv_of(last).out_channels, 3, 1)
            block.register_forward_hook(lambda _module, _inputs, out, size=size: self._seen.update({size: out}))

    def mouth(self, mel: Tensor) -> Tensor:
        """Mouth parameters (B, N_MOMENTS, N_PARAMETERS) of sound windows (B, 1, 80, 16)."""
        self.generator.audio_encoder(mel.contiguous(memory_format=torch.channels_last))
        return self._mouth_heard()

    def forward(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Generated faces, the full one first, and the mouth parameters heard."""
        faces = [self.generator(batch.mel, batch.faces, batch.reference)]
        faces += [head(self._seen[size]).sigmoid().float() for size, head in self.to_small_face.items()]
        return faces, self._mouth_heard()

    def _mouth_heard(self) -> Tensor:
        return self.to_mouth(self._seen["code"].flatten(1)).view(-1, N_MOMENTS, N_PARAMETERS).float()


@torch.no_grad()
def start_as_copier(generator: Wav2Lip) -> None:
    """Set the outermost layers so that the untrained generator gives the reference back.

    Otherwise its first hours go into learning to pass colours through; so all of them go into changing the mouth.
    """
    first = generator.face_encoder_blocks.get_submodule("0.0")
    joined, to_rgb = generator.output_block[0], generator.output_block[1]
    assert isinstance(to_rgb, nn.Conv2d) and to_rgb.bias is not None
    for block in (first, joined):
        norm = block.get_submodule("conv_block.1")
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        norm.weight.fill_(COLOUR_STD)
        norm.bias.fill_(COLOUR_MEAN)
        norm.running_mean.fill_(COLOUR_MEAN)
        norm.running_var.fill_(COLOUR_STD**2)
    enter, leave = conv_of(first), conv_of(joined)
    assert enter.bias is not None and leave.bias is not None
    n_decoded = leave.in_channels - enter.out_channels
    enter.weight[:3] = 0
    leave.weight[:3] *= 0.1
    to_rgb.weight.mul_(0.1)
    to_rgb.bias.fill_(-COPY_SLOPE / 2)
    for colour in range(3):  # the reference's channels are 3 to 5 of the input; decoded ones come before the skipped
        for conv, source in ((enter, 3 + colour), (leave, n_decoded + colour)):
            conv.weight[colour, source, conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1
        to_rgb.weight[colour, colour] = COPY_SLOPE
    enter.bias[:3] = leave.bias[:3] = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long each part lasts, in steps; `decay` is the last part of all, in which the learning rate falls to zero."""

    audio: int = 3000
    faces: int = 4600
    decay: int = 1500
    audio_batch: int = 96
    batch: int = 32
    learning_rate: float = 1e-3
    critic_share: float = 0.3  # of L1's pull on a picture; 0 is none
    critic_alone: int = 200  # steps in which the critic learns before it is listened to

    def rate(self, step: int) -> float:
        if step < self.audio:
            return 3e-3 * min(1, step / 200, 1.05 - step / self.audio)
        done = step - self.audio
        left = self.faces - done
        return self.learning_rate * min(1.0, (done + 1) / 100, max(left, 1) / self.decay)


def losses(out: Tensor, small: list[Tensor], mouth: Tensor, batch: Batch) -> dict[str, Tensor]:
    """L1 of colours and of edges, weighted to the mouth, and the error of the mouth parameters where they are known."""
    target = batch.faces
    copying = (target - batch.reference).abs().mean(dim=1, keepdim=True)  # where the reference is no help
    weights, mouth_region = loss_weights(target.shape[-1], target.device)
    weights = weights * (1 + COPYING_WEIGHT * copying * mouth_region)
    across = ((out.diff(dim=3) - target.diff(dim=3)).abs() * weights[..., 1:]).mean()
    downward = ((out.diff(dim=2) - target.diff(dim=2)).abs() * weights[..., 1:, :]).mean()
    heard = (mouth - batch.mouth).square().mean(dim=(1, 2))
    pooled = [F.adaptive_avg_pool2d(torch.cat((target, weights), dim=1), face.shape[-1]) for face in small]
    of_small = [((f - p[:, :3]).abs() * p[:, 3:]).mean() for f, p in zip(small, pooled, strict=True)]
    return {
        "l1": ((out - target).abs() * weights).mean(),
        "small": torch.stack(of_small).mean(),
        "edges": across + downward,
        "mouth": (heard * batch.mouth_known).sum() / batch.mouth_known.sum().clamp(min=1),
    }


def train(arguments: argparse.Namespace, plan: Plan) -> None:
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    learner = Learner(arguments.width).to(device).to(memory_format=torch.channels_last)
    if arguments.start is None:
        start_as_copier(learner.generator)
    else:
        start_from(learner.generator, arguments.start)
    torch.backends.cudnn.benchmark = True  # shapes never change
    optimizer = torch.optim.AdamW(learner.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=1e-2)
    critic = MouthCritic(N_PARAMETERS).to(device).to(memory_format=torch.channels_last)
    critic_optimizer = torch.optim.AdamW(critic.parameters(), 1e-3, betas=(0.5, 0.99), weight_decay=1e-3)
    taught: dict[str, nn.Module | torch.optim.Optimizer] = {
        "learner": learner,
        "optimizer": optimizer,
        "critic": critic,
        "critic_optimizer": critic_optimizer,
    }
    average = {name: tensor.clone() for name, tensor in learner.generator.state_dict().items()}
    first = 0
    state_file = arguments.out / "state.pt"
    if state_file.is_file():
        state = torch.load(state_file, map_location=device, weights_only=True)
        for name, module in taught.items():
            module.load_state_dict(state[name])
        average, first = state["average"], state["step"]
    maker = BatchMaker(torch.load(arguments.material, weights_only=True), device=device)
    end = plan.audio + plan.faces
    # On most CPUs the casts around such thin layers cost more than they save; with AMX a step takes a quarter less.
    halved = device.type == "cuda" or network_dtype(device, fp16=False) == torch.bfloat16
    began = time.monotonic()
    for step in tqdm(range(first, end), initial=first, total=end, mininterval=5, disable=arguments.quiet):
        maker.seed(arguments.seed * 1_000_003 + step)  # a resumed run sees what an unbroken one would have
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        for group in critic_optimizer.param_groups:
            group["lr"] = plan.rate(step) * CRITIC_RATE
        with torch.autocast(device.type, torch.bfloat16, enabled=halved):
            if step < plan.audio:
                mel, mouth = maker.speech(plan.audio_batch)
                parts = {"mouth": (learner.mouth(mel) - mouth).square().mean()}
            else:
                batch = maker.batch(plan.batch)
                (out, *small), mouth = learner(batch)
                parts = losses(out, small, mouth, batch)
                if plan.critic_share:
                    judged = critic.own_loss(batch.faces, out, batch.mouth[:, FRAME_MOMENT], batch.mouth_known)
                    critic_optimizer.zero_grad(set_to_none=True)
                    judged.backward()
                    critic_optimizer.step()
        loss = sum(parts.values(), torch.zeros((), device=device))
        if plan.critic_share and step >= plan.audio + plan.critic_alone:
            loss = loss + plan.critic_share * critic.pull(parts["l1"], out, batch.faces)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if step >= plan.audio and plan.critic_share:
            parts["critic"] = judged
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        if step % EMA_EVERY == 0:
            keep = min(0.99, 1 - 10 / (step - plan.audio + 20)) if step > plan.audio else 0.0
            now = learner.generator.state_dict()
            weights = [name for name, tensor in now.items() if tensor.is_floating_point()]
            torch._foreach_lerp_([average[name] for name in weights], [now[name] for name in weights], 1 - keep)
            average |= {name: tensor.clone() for name, tensor in now.items() if not tensor.is_floating_point()}
        if step % 20 == 19:
            record = {"step": step + 1, "seconds": round(time.monotonic() - began, 1), "rate": plan.rate(step)}
            record |= {name: round(float(value.detach()), 5) for name, value in parts.items()}
            with (arguments.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")
        if step % arguments.save_every == arguments.save_every - 1 or step == end - 1:
            modules = {name: module.state_dict() for name, module in taught.items()}
            save(arguments.out, modules | {"average": average, "step": step + 1})
            if step >= plan.audio:
                draw_faces(arguments.out, average, maker.batch(10), width=arguments.width)
            draw_losses(arguments.out)


def save(out: Path, state: dict[str, Any]) -> None:
    """Everything to go on from, and the averaged generator as it would ship: half precision but for batch norm."""
    torch.save(state, out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")
    weights = {
        name: (tensor.half() if ".conv_block.1." not in name else tensor.float()).contiguous().cpu()
        for name, tensor in state["average"].items()
        if "num_batches_tracked" not in name
    }
    save_file(weights, out / "demo.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a demo.safetensors to go on from, with --audio 0")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--quiet", action="store_true")
    for name, field in Plan.__dataclass_fields__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    train(arguments, Plan(**{name: getattr(arguments, name) for name in Plan.__dataclass_fields__}))


if __name__ == "__main__":
    main()
