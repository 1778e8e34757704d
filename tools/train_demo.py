r"""Train the small generator that ships, on GRID clips and on still faces made to speak.

    python -m gpu_lipsync.tools.demo_material --clips FOLDER --stills FOLDER --speech FOLDER --packages FOLDER \
        --out material.pt
    python -m gpu_lipsync.tools.train_demo --material material.pt --out runs/demo

Seeded, resumes from --out, on a CPU or CUDA. Writes state.pt, demo.safetensors (averaged weights), log.jsonl, loss.png
and faces.png (reference, target, result). First the sound's encoder alone learns the mouth parameters, in minutes: a
generator that starts deaf learns to ignore the sound. Then the whole generator, or, with --keep-ear 1, all of it but
the sound's encoder. `average_generators` takes the mean of files that a run has left; `retrain_hearing` teaches a
finished generator more voices; `gpu_lipsync.evaluate` and `judge_closures` say what it can do. The plans that led to
what ships are in checkpoints/HISTORY.md; the defaults are none of them.
"""

import argparse
import json
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gpu_lipsync.process.device import network_dtype
from gpu_lipsync.tools.demo_batches import BatchMaker
from gpu_lipsync.tools.demo_learner import N_PARAMETERS, Learner, losses, start_as_copier
from gpu_lipsync.tools.demo_report import draw_faces, draw_losses, drop_records
from gpu_lipsync.tools.generator_file import save, start_from
from gpu_lipsync.tools.heard_mouth import HeardMouth
from gpu_lipsync.tools.mouth_critic import MouthCritic
from gpu_lipsync.tools.recorded_step import RecordedStep
from gpu_lipsync.tools.talks import FRAME_MOMENT

EMA_EVERY = 5
LOG_EVERY = 20
CRITIC_RATE = 0.4  # of the generator's learning rate


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
    keep_ear: int = 0  # 1: the sound's encoder stays as it is, and stills are drawn to say what it hears

    def rate(self, step: int) -> float:
        if step < self.audio:
            return 3e-3 * min(1, step / 200, 1.05 - step / self.audio)
        done = step - self.audio
        left = self.faces - done
        return self.learning_rate * min(1.0, (done + 1) / 100, max(left, 1) / max(self.decay, 1))


class Trainer:
    """The networks and one step of each part of the plan; what a step changes on the way is in tensors."""

    def __init__(self, arguments: argparse.Namespace, plan: Plan) -> None:
        self._device = device = torch.device(arguments.device)
        self._plan = plan
        self.learner = Learner(arguments.width).to(device).to(memory_format=torch.channels_last)
        start_as_copier(self.learner.generator)
        self.critic = MouthCritic(N_PARAMETERS).to(device).to(memory_format=torch.channels_last)
        self._optimizer = self._adam(self.learner, betas=(0.9, 0.99), weight_decay=1e-2)
        self._critic_optimizer = self._adam(self.critic, betas=(0.5, 0.99), weight_decay=1e-3)
        if arguments.start is not None:
            self.go_on_from(torch.load(arguments.start, map_location=device, weights_only=True))
        if arguments.weights is not None:
            start_from(self.learner.generator, arguments.weights)
        self.maker = BatchMaker(torch.load(arguments.material, weights_only=True), device=device)
        if plan.keep_ear:
            ear = self.learner.generator.audio_encoder.requires_grad_(False).eval()
            self.maker.seed(0)
            self.maker.heard = HeardMouth(ear, self.maker.speech)
        # On most CPUs the casts around such thin layers cost more than they save; with AMX or AVX512_BF16 a step takes
        # a fifth to a quarter less.
        self._halved = device.type == "cuda" or network_dtype(device, fp16=False) == torch.bfloat16
        self._steps = {
            name: RecordedStep(step, self.maker.draws.generator)
            for name, step in (
                ("hear", self._hear),
                ("watch", lambda: self._draw(heeding=False)),
                ("heed", lambda: self._draw(heeding=plan.critic_share > 0)),
            )
        }

    def step(self, number: int, seed: int) -> dict[str, Tensor]:
        """Learn from one batch; the losses, which the next step may overwrite."""
        self.maker.seed(seed)  # a resumed run sees what an unbroken one would have
        rate = self._plan.rate(number)
        for optimizer, factor in ((self._optimizer, 1.0), (self._critic_optimizer, CRITIC_RATE)):
            for group in optimizer.param_groups:
                group["lr"].fill_(rate * factor)
        done = number - self._plan.audio
        return self._steps["hear" if done < 0 else "watch" if done < self._plan.critic_alone else "heed"]()

    def modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "learner": self.learner,
            "optimizer": self._optimizer,
            "critic": self.critic,
            "critic_optimizer": self._critic_optimizer,
        }

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take on what a run left, on whatever device."""
        for name, module in self.modules().items():
            module.load_state_dict(state[name])
        for optimizer in (self._optimizer, self._critic_optimizer):
            for group in optimizer.param_groups:
                rate = torch.zeros((), device=self._device)
                group.update(lr=rate, fused=True, capturable=self._device.type == "cuda")
            for moments in optimizer.state.values():
                moments["step"] = moments["step"].to(self._device)

    def _adam(self, module: nn.Module, **options: Any) -> torch.optim.AdamW:
        rate = torch.zeros((), device=self._device)
        capturable = self._device.type == "cuda"
        return torch.optim.AdamW(module.parameters(), rate, fused=True, capturable=capturable, **options)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._halved)

    def _hear(self) -> dict[str, Tensor]:
        mel, mouth = self.maker.speech(self._plan.audio_batch)
        with self._autocast():
            parts = {"mouth": (self.learner.mouth(mel) - mouth).square().mean()}
        self._learn(parts["mouth"])
        return parts

    def _draw(self, *, heeding: bool) -> dict[str, Tensor]:
        """Of the generator and the critic; `heeding`, the one listens to the other."""
        batch = self.maker.batch(self._plan.batch)  # not in half precision: coordinates would be off by half a pixel
        with self._autocast():
            (out, *small), mouth = self.learner(batch)
            parts = losses(out, small, mouth, batch)
            if self._plan.keep_ear:  # what it hears is settled
                del parts["mouth"]
            loss = torch.stack(list(parts.values())).sum()
            if self._plan.critic_share:
                said = batch.mouth[:, FRAME_MOMENT]
                parts["critic"] = self.critic.own_loss(batch.faces, out, said, batch.mouth_known)
                self._critic_optimizer.zero_grad(set_to_none=True)
                parts["critic"].backward()
                self._critic_optimizer.step()
        if heeding:  # outside autocast, which keeps the critic's weights as they were before its own step
            loss = loss + self._plan.critic_share * self.critic.pull(parts["l1"], out, batch.faces)
        self._learn(loss)
        return parts

    def _learn(self, loss: Tensor) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self._optimizer.step()


def train(arguments: argparse.Namespace, plan: Plan) -> None:
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True  # shapes never change
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw_losses(arguments.out)  # what it needs is missed now, or after many minutes
    device = torch.device(arguments.device)
    with torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext():
        _train(arguments, plan)


def _train(arguments: argparse.Namespace, plan: Plan) -> None:
    trainer = Trainer(arguments, plan)
    now = trainer.learner.generator.state_dict()  # the tensors themselves, which training changes
    average = {name: tensor.clone() for name, tensor in now.items()}
    first, end = 0, plan.audio + plan.faces
    state_file, made_by = arguments.out / "state.pt", _made_by(arguments, plan)
    if state_file.is_file():
        state = torch.load(state_file, map_location=arguments.device, weights_only=True)
        known = state.get("made_by", {})
        if known != {name: made_by[name] for name in known if name in made_by}:
            raise SystemExit(f"{state_file} was made by {state['made_by']}; give the same, or another --out")
        trainer.go_on_from(state)
        average, first = state["average"], state["step"]
    drop_records(arguments.out, after=first)
    weights = [name for name, tensor in now.items() if tensor.is_floating_point()]
    smooth, rough = ([tensors[name] for name in weights] for tensors in (average, now))
    began = time.monotonic()
    for step in tqdm(range(first, end), initial=first, total=end, mininterval=5, disable=arguments.quiet):
        parts = trainer.step(step, arguments.seed * 1_000_003 + step)
        if step % EMA_EVERY == 0:
            keep = min(0.99, 1 - 10 / (step - plan.audio + 20)) if step > plan.audio else 0.0
            torch._foreach_lerp_(smooth, rough, 1 - keep)
        if step % LOG_EVERY == LOG_EVERY - 1:
            record = {"step": step + 1, "seconds": round(time.monotonic() - began, 1), "rate": plan.rate(step)}
            record |= {name: round(float(value.detach()), 5) for name, value in parts.items()}
            with (arguments.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")
        if step % arguments.save_every == arguments.save_every - 1 or step == end - 1:
            average |= {name: tensor.clone() for name, tensor in now.items() if name not in weights}
            modules = {name: module.state_dict() for name, module in trainer.modules().items()}
            save(arguments.out, modules | {"average": average, "step": step + 1, "made_by": made_by})
            if step >= plan.audio:
                draw_faces(arguments.out, average, trainer.maker.batch(10), width=arguments.width)
            draw_losses(arguments.out)


def _made_by(arguments: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """What a run is made of, by which it is known again: of files their SHA-256."""
    files = {name: getattr(arguments, name) for name in ("material", "start", "weights")}
    sums = {name: file and sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    return asdict(plan) | {"seed": arguments.seed, "width": arguments.width} | sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="another run's state.pt; with --audio 0 and another --seed")
    parser.add_argument(
        "--weights", type=Path, help="a generator's file, in place of that of --start or alone; likewise"
    )
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--quiet", action="store_true")
    for name, field in Plan.__dataclass_fields__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    if arguments.start and arguments.start.suffix == ".safetensors":
        parser.error("--start takes a state.pt; a generator's file goes with --weights")
    if arguments.keep_ear and not (arguments.start or arguments.weights):
        parser.error("--keep-ear 1 goes with --start or --weights: an ear that has learnt nothing hears nothing")
    if arguments.audio and (arguments.start or arguments.weights):
        parser.error("--start and --weights go with --audio 0: their ears are trained")
    train(arguments, Plan(**{name: getattr(arguments, name) for name in Plan.__dataclass_fields__}))


if __name__ == "__main__":
    main()
