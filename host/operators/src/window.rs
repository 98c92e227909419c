//! Work side by side on so much at a time, its results in the order in which it came.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesOrdered},
};

/// What weighs something: rows, and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) rows: usize,
    pub(crate) bytes: u64,
}

/// Works on what comes until it weighs too much together, and goes on when the first of it is done.
pub(crate) struct Window<T, R> {
    input: BoxStream<'static, T>,
    ended: bool,
    most: Weight,
    has: Weight,
    working: FuturesOrdered<BoxFuture<'static, (Weight, R)>>,
    work: Box<dyn FnMut(T) -> (Weight, BoxFuture<'static, R>) + Send>,
}

impl<T, R: Send + 'static> Window<T, R> {
    /// `work` says what something weighs, and does it.
    pub(crate) fn new(
        input: BoxStream<'static, T>,
        most: Weight,
        work: impl FnMut(T) -> (Weight, BoxFuture<'static, R>) + Send + 'static,
    ) -> Self {
        let (has, working) = (Weight::default(), FuturesOrdered::new());
        Self { input, ended: false, most, has, working, work: Box::new(work) }
    }
}

impl<T, R: Send + 'static> Stream for Window<T, R> {
    type Item = R;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R>> {
        let this = self.get_mut();
        while !this.ended && this.has.rows < this.most.rows && this.has.bytes < this.most.bytes {
            match this.input.poll_next_unpin(context) {
                Poll::Ready(Some(item)) => {
                    let (weight, result) = (this.work)(item);
                    this.has.rows += weight.rows;
                    this.has.bytes += weight.bytes;
                    this.working.push_back(result.map(move |result| (weight, result)).boxed());
                }
                Poll::Ready(None) => this.ended = true,
                Poll::Pending => break,
            }
        }
        match this.working.poll_next_unpin(context) {
            Poll::Ready(Some((weight, result))) => {
                this.has.rows -= weight.rows;
                this.has.bytes -= weight.bytes;
                Poll::Ready(Some(result))
            }
            Poll::Ready(None) if !this.ended => Poll::Pending,
            other => other.map(|_| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn order_is_kept_and_no_more_is_begun_than_fits() {
        let begun = Arc::new(AtomicUsize::new(0));
        let most = Weight { rows: 10, bytes: 1_000 };
        let counted = begun.clone();
        let work = move |i: usize| {
            counted.fetch_add(1, Ordering::Relaxed);
            // The earlier ones take longer.
            let pause = std::time::Duration::from_millis(20 - i as u64);
            (
                Weight { rows: 4, bytes: 1 },
                async move {
                    tokio::time::sleep(pause).await;
                    i
                }
                .boxed(),
            )
        };
        let mut window = Window::new(stream::iter(0..20).boxed(), most, work);
        assert_eq!(window.next().await, Some(0));
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        assert_eq!(window.collect::<Vec<_>>().await, (1..20).collect::<Vec<_>>());
    }
}
