"""A causal model in two parts: hidden states, and the scores made from them.

Scores over a large vocabulary are most of the memory of training, and they are wanted at some of the
tokens only. So they are made from the hidden states where they are wanted. Whether a model's scores are
really made in this way is not believed but tried.
"""

from __future__ import annotations

from typing import Any

import torch

from muscle_gov import ModelError

Tensor = torch.Tensor

_TRIED_TOKENS = 16
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}


class Parts:
    """Decoder and head of a causal model of transformers, be it wrapped by peft or not."""

    def __init__(self, model: Any) -> None:
        self.model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.base, self.decoder = base, base.get_decoder()
        self.head = base.get_output_embeddings()
        config = base.config.get_text_config(decoder=True)
        self._width = int(config.vocab_size)
        self._cap = getattr(config, "final_logit_softcapping", None)  # Gemma
        self._factor = getattr(config, "logit_scale", None)  # Cohere
        self._divisor = getattr(config, "logits_scaling", None)  # Granite
        self.device = torch.device(base.device)

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[rows, length, H]: what the last layer says at every token."""
        found: Tensor = self.decoder(
            input_ids=ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return found

    def scores(self, hidden: Tensor) -> Tensor:
        """[m, V]: unnormalised log-probabilities of the next token, from hidden states [m, H]."""
        found: Tensor = self.head(hidden)
        if self._factor is not None:
            found = found * self._factor
        if self._divisor is not None:
            found = found / self._divisor
        if self._cap is not None:
            found = torch.tanh(found / self._cap) * self._cap
        return found

    def chunk(self, wanted: int | None) -> int:
        """Tokens whose scores are best made at once, unless told how many."""
        from muscle_gov_plugins._loss_batch import chunk_of

        return wanted or chunk_of(self._width, self.device.type)

    def check(self, tokens: Tensor, name: str) -> None:
        """Compare with the model's own scores of a few tokens [length].

        Raises ModelError where they differ: the model does more to its scores than is known here.
        """
        ids = tokens[None, :_TRIED_TOKENS].to(self.device)
        mask = torch.ones_like(ids)
        was_training = self.base.training
        self.base.eval()
        try:
            with torch.no_grad():
                own = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0].float()
                made = self.scores(self.hidden(ids, mask)[0]).float()
        finally:
            self.base.train(was_training)
        gap = float((own - made).abs().max())
        if not gap <= _TOLERANCE.get(self.base.dtype, 1e-4) * max(1.0, float(own.abs().max())):
            raise ModelError(
                f"{name}: models of the type {self.base.config.model_type} cannot be trained here: they "
                "do more to their scores than their output head"
            )
