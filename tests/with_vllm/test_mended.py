"""An adapter that mends an update is served by vLLM, and says there what it says in peft."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import asked, of_hf, opened, same
from fit_pairs import Zoo, fitting_of, make_pair
from muscle_gov_plugins.mitigate_loss import Muscle

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


def test_the_adapter_of_muscle_is_served_by_vllm(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "pair")
    muscle = Muscle(rank=8, batch_rows=16, accumulation=1, learning_rate=1e-2, steps=20, warmup_steps=0)
    mended = muscle.fit(fitting_of(tmp_path / "fit", pair.new, pair.old))
    assert mended.adapter is not None
    zoo = Zoo(200, 260)
    requests = [zoo.requests(one)[0]._replace(logprobs=True) for one in zoo.instances()]
    base, adapter = Path(mended.path), Path(mended.adapter)
    wanted = of_hf(base, requests, adapter)
    with opened(base, adapter) as model:
        assert model._engine._lora.lora_path == str(adapter), "as LoRA, not merged"
        same(asked(model, requests), wanted)
    before = of_hf(base, requests, Path(str(pair.new.adapter)))
    assert [one.text for one in wanted] != [one.text for one in before]
