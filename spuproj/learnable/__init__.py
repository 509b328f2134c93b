"""Views whose geometry is learned."""

from spuproj.learnable.learnable_views import LearnableViews

__all__ = ["LearnableViews"]
