//! How types look in the TypeScript declarations that are generated for clients.

/// Makes types appear as a TypeScript type that already exists, such as `string`.
#[macro_export]
macro_rules! appears_as {
    ($($name:ty => $typescript:expr),+ $(,)?) => {
        $(impl ::ts_rs::TS for $name {
            type WithoutGenerics = Self;
            type OptionInnerType = Self;

            fn name(_: &::ts_rs::Config) -> String {
                String::from($typescript)
            }

            fn inline(config: &::ts_rs::Config) -> String {
                <Self as ::ts_rs::TS>::name(config)
            }
        })+
    };
}

appears_as!(
    crate::SessionId => "string",
    crate::MessageId => "string",
    crate::Secret => "string",
    crate::Generation => "number",
    crate::Timestamp => "number",
);
