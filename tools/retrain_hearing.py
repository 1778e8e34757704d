r"""Teach a demo generator's ear alone, for a network whose face stays as it is: new voices, or better mouths.

    python -m gpu_lipsync.tools.retrain_hearing --material material.pt --start demo.safetensors --new VOICE ... \
        --out better.safetensors

What a face can show, the decoder has learnt; which sound asks for which mouth takes other voices, and no pictures:
minutes on two cores instead of hours. The code that the sound's encoder gives the decoder keeps its meaning. On the
voices that the generator already knows, a linear reading of the code is fitted to the mouths, and a small network
learns which code a mouth usually has; then the encoder learns to give every voice codes that read as its mouths and are
usual ones. Writes averaged weights, as train_demo does. Seeded.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.process.device import network_dtype
from gpu_lipsync.tools.demo_batches import BatchMaker
from gpu_lipsync.tools.generator_file import start_from
from gpu_lipsync.tools.heard_mouth import linear_reading, read

KINDS_OF_TALKS = ("talks", "real_talks")  # of the material
N_MOUTH = 16  # four numbers at four moments
OPEN_SPREAD_ROUND_TEETH = (2.0, 0.7, 0.7, 0.6)  # what an error in each counts
USUAL_SHARE = 0.005  # of being a usual code, beside the mouth's error
KNOWN_BATCHES, FIT_BATCH, FIT_STEPS = 80, 512, 1500
EMA_EVERY = 5


class Codes:
    """What the codes of a sound's encoder mean, by the voices it knows."""

    def __init__(self, codes: Tensor, mouths: Tensor) -> None:
        """Of codes (n, c) and the mouths (n, N_MOUTH) that they stand for."""
        self._reading = linear_reading(codes, mouths)
        self._spread = codes.std(dim=0).clamp(min=1e-2)
        self._usual = nn.Sequential(
            *(nn.Linear(N_MOUTH, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, codes.shape[1]))
        ).to(codes.device)
        optimizer = torch.optim.Adam(self._usual.parameters(), 1e-3)
        for _ in range(FIT_STEPS):
            some = torch.randint(len(codes), (FIT_BATCH,), device=codes.device)
            loss = self.unusual(codes[some], mouths[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self._usual.requires_grad_(False)

    def mouths(self, codes: Tensor) -> Tensor:
        """(n, N_MOUTH) that codes (n, c) are read as."""
        return read(codes, self._reading)

    def unusual(self, codes: Tensor, mouths: Tensor) -> Tensor:
        """How far codes are from what such mouths usually have; about 1 is as far as any two."""
        return ((codes - self._usual(mouths)) / self._spread).square().mean()


def without_voices(material: dict[str, Any], new: set[str]) -> dict[str, Any]:
    """The material without the talks of these voices.

    Raises:
        ValueError: it has none of a voice, or of a kind of talks no others.
    """
    voices = {talk[2] for kind in KINDS_OF_TALKS for talk in material[kind]}
    if not new <= voices:
        raise ValueError(f"no voice {', '.join(sorted(new - voices))}; there are {', '.join(sorted(voices))}")
    left = {kind: [talk for talk in material[kind] if talk[2] not in new] for kind in KINDS_OF_TALKS}
    for kind, talks in left.items():
        if not talks:
            raise ValueError(f"nothing but new voices in {kind}: nothing is left to compare with; leave out some")
    return material | left


def codes_of(encoder: nn.Module, familiar: BatchMaker) -> Codes:
    """What the encoder's codes mean, by the mouths of sound that it knows."""
    with torch.inference_mode():
        heard = [familiar.speech(FIT_BATCH) for _ in range(KNOWN_BATCHES)]
        pairs = [(encoder(mel).flatten(1), mouth.flatten(1)) for mel, mouth in heard]
    codes, mouths = (torch.cat(part).clone() for part in zip(*pairs, strict=True))
    return Codes(codes, mouths)


def retrain(arguments: argparse.Namespace) -> dict[str, Tensor]:
    """The sound's encoder, trained: its tensors by their names in the generator."""
    device = torch.device(arguments.device)
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    material = torch.load(arguments.material, map_location="cpu", weights_only=True)
    familiar = BatchMaker(without_voices(material, set(arguments.new)), device=device)
    maker = BatchMaker(material, device=device)
    familiar.seed(arguments.seed)
    maker.seed(arguments.seed)
    generator = Wav2Lip(arguments.width).to(device)
    start_from(generator, arguments.start)
    encoder = generator.audio_encoder
    meaning = codes_of(encoder.eval(), familiar)
    weights = torch.tensor(OPEN_SPREAD_ROUND_TEETH, device=device)
    encoder.train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=arguments.learning_rate)
    average = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    halved = device.type == "cuda" or network_dtype(device, fp16=False) == torch.bfloat16
    began = time.monotonic()
    for step in tqdm(range(arguments.steps), mininterval=5, disable=arguments.quiet):
        left = (arguments.steps - step) / (0.6 * arguments.steps)
        for group in optimizer.param_groups:
            group["lr"] = arguments.learning_rate * min(1.0, (step + 1) / 100, max(0.02, left))
        mel, mouth = maker.speech(arguments.batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=halved):
            code = encoder(mel.contiguous(memory_format=torch.channels_last)).flatten(1)
        code = code.float()
        error = ((meaning.mouths(code).view_as(mouth) - mouth).square() * weights).mean()
        unusual = meaning.unusual(code, mouth.flatten(1))
        optimizer.zero_grad()
        (error + USUAL_SHARE * unusual).backward()
        optimizer.step()
        if step % EMA_EVERY == 0:
            keep = min(0.99, 1 - 10 / (step + 20))
            for name, tensor in encoder.state_dict().items():
                if tensor.is_floating_point():
                    average[name].lerp_(tensor, 1 - keep)
        if step % 500 == 499 and not arguments.quiet:
            seconds = time.monotonic() - began
            tqdm.write(f"{step + 1} steps, {seconds:.0f} s: mouth {float(error):.4f}, code {float(unusual):.3f}")
    return {f"audio_encoder.{name}": tensor.cpu() for name, tensor in average.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, required=True, help="what demo_material wrote")
    parser.add_argument("--start", type=Path, required=True, help="the generator to go on from")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--new",
        nargs="+",
        required=True,
        help="voices that do not say what its codes mean: unknown ones, or with new mouths",
    )
    parser.add_argument("--steps", type=int, default=4800)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    weights = load_file(arguments.start)
    heard = retrain(arguments)
    save_file({name: heard.get(name, w).to(w.dtype).contiguous() for name, w in weights.items()}, arguments.out)


if __name__ == "__main__":
    main()
