"""Names the llmux service for twistd; strings only, so that `--reactor` is obeyed before anything is imported."""

from twisted.application.service import ServiceMaker

llmux = ServiceMaker("llmux", "llmux.daemon.tap", "Routes each model request to the provider its user chose", "llmux")
